"""A simulated site: what clusters and a registry do, without clusters and without a registry.

``rehearsal.clusters.SimulatedClusters`` is a Kubernetes 1.20 API per cluster, with controllers and a node, over HTTPS
on the loopback.  ``tests/rehearsal/contract`` holds it to a real kube-apiserver: a difference is a bug of the
simulation.  What it leaves out, and does not pretend to have:

- Bodies in protocol buffers, hence the imperative ``kubectl create deployment|configmap|namespace|...``, ``kubectl
  auth can-i`` and whatever else uses typed clients for writing (415); ``kubectl apply`` and ``create -f`` send JSON.
- API groups that differ in shape between versions: ``extensions``, ``events.k8s.io``, ``autoscaling/v2*``,
  ``networking.k8s.io/v1beta1``, ``apiextensions.k8s.io/v1beta1``, ``certificates``, ``flowcontrol``, ``metrics``;
  conversion of any kind, and conversion webhooks.
- Authorization by RBAC objects, which are plain data: a user is an administrator, or has a rule written in Python.
  Nobody is let in by a service account's token; no impersonation.
- Admission by webhooks, ResourceQuota, LimitRange, PodSecurityPolicy and PodDisruptionBudget: all plain data; a
  refusal is made with ``SimulatedCluster.reject``.
- Most of the validation of fields: names, labels, selectors, pods' containers, ports and what must not change are
  checked; quantities, probes, volumes, CRON expressions and CEL are not.  Of a CustomResourceDefinition's schema:
  types, required fields, enumerations, defaults and pruning; no patterns, bounds or formats.
- Where Go prints a whole structure into an error (a Job's template, a claim's spec), only the words around it agree.
- Scheduling: every pod fits the one node, whatever its selectors, affinities, taints and resources say.
- Containers: nothing runs; probes, logs, exec, port-forward and hooks do not exist; images are asked for, not kept.
- Services lead nowhere: no Endpoints, no DNS, no load balancers, no Ingress controller.  Volumes are not bound.
- Controllers of CronJobs, HorizontalPodAutoscalers and PodDisruptionBudgets.
- managedFields of pods and of what controllers make (ReplicaSets, ControllerRevisions); time passes faster: what a
  controller of a real cluster does within a second is done at once here.
- Proportional scaling of a deployment in the middle of a rollout; parallel or adopted pods of others.
- A watch's past beyond the last 2,000 events, lists at an old resourceVersion, API priority and fairness, audit.
"""
