"""What each verb of the command line asks, shows and runs; Prefect is imported only to run a flow."""
