"""The texts that legacy and packed bundles of the tests carry."""

from __future__ import annotations

MINION = """\
apiVersion: apps/v1
kind: Deployment
metadata:
  name: am-minion
  namespace: kube-system
  labels:
    app: am-minion
spec:
  replicas: 1
  selector:
    matchLabels:
      app: am-minion
  template:
    metadata:
      labels:
        app: am-minion
    spec:
      terminationGracePeriodSeconds: 1
      initContainers:
      - name: check-master
        image: [[ registry_release ]]/am_minion:v0.0.7
        command: ["/bin/sh", "-c", "until /pangolin/kubectl -n default get pods -l app=am-master; do sleep 5; done"]
      containers:
      - name: am-minion
        image: [[ registry_release ]]/am_minion:v0.0.7
        env:
        - name: MASTER_ADDRESS
          value: "[[ addon_master_ip ]]:[[ addon_master_port ]]"
        ports:
        - containerPort: 6010
"""

RELEASE_CONTROLLER = """\
apiVersion: v1
kind: ServiceAccount
metadata:
  name: release-controller
  namespace: kube-system
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata:
  name: release-controller
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: ClusterRole
  name: cluster-admin
subjects:
- kind: ServiceAccount
  name: release-controller
  namespace: kube-system
---
apiVersion: apps/v1
kind: Deployment
metadata:
  name: release-controller
  namespace: kube-system
  labels:
    app: release-controller
spec:
  replicas: 1
  selector:
    matchLabels:
      app: release-controller
  template:
    metadata:
      labels:
        app: release-controller
      annotations:
        # Belongs to another tool: it must arrive on the cluster as it is.
        notice: "{{ .Release.Name }} {% raw %}"
    spec:
      terminationGracePeriodSeconds: 1
      serviceAccountName: release-controller
      containers:
      - name: release-controller
        image: [[ registry_release ]]/release-controller:v0.2.10
        args: ["--templates=[[ registry_release ]]/templates:v1.2.14"]
"""

# Bare words that the old scripts replaced; no Jinja.
KUBECONFIG_PASSWORD = """\
apiVersion: v1
kind: Config
clusters:
- name: clusterName
  cluster:
    insecure-skip-tls-verify: true
    server: https://endpointIP:endpointPort
users:
- name: clusterName-user
  user:
    username: kubeUser
    password: kubePassword
contexts:
- name: clusterName
  context:
    cluster: clusterName
    user: clusterName-user
current-context: clusterName
"""

KUBECONFIG_CERTIFICATE = """\
apiVersion: v1
kind: Config
clusters:
- name: clusterName
  cluster:
    certificate-authority-data: authorityData
    server: https://endpointIP:endpointPort
users:
- name: clusterName-user
  user:
    client-certificate-data: certificateData
    client-key-data: keyData
contexts:
- name: clusterName
  context:
    cluster: clusterName
    user: clusterName-user
current-context: clusterName
"""

CONFIG = """\
# Releases that the new version no longer has, by namespace
DEFAULT_REMOVE_COMPONENTS="old-console,old-gateway"
KUBE_SYSTEM_REMOVE_COMPONENTS="old-exporter"
"""

INSTALL_ENV = """\
#!/bin/bash
# written by the installer
export CARGO_CFG_DOMAIN="{registry}"
CARGO_CFG_IP=127.0.0.1
CARGO_CFG_PASSWORD='not-a-password'
"""
