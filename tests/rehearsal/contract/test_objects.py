"""Creating, reading, replacing: what is filled in, what is refused, and in which words."""

from __future__ import annotations

import pytest

from tests.rehearsal.contract.cluster import Json, Space, config_map, deployment, managers, said, service, template


def test_an_object_gets_its_identity(space: Space) -> None:
    answer = space.post("configmaps", config_map("one"))
    metadata = answer.json()["metadata"]
    assert answer.status_code == 201
    assert set(metadata) == {"name", "namespace", "uid", "resourceVersion", "creationTimestamp", "managedFields"}
    assert metadata["namespace"] == space.namespace
    assert space.get("configmaps", "one").json() == answer.json()


def test_a_name_is_generated(space: Space) -> None:
    body = config_map("")
    body["metadata"] = {"generateName": "some-"}
    name = space.post("configmaps", body).json()["metadata"]["name"]
    assert name.startswith("some-")
    assert len(name) == len("some-") + 5


def test_a_deployment_is_filled_in(space: Space) -> None:
    made = space.post("deployments", deployment("web", replicas=0)).json()
    spec = made["spec"]
    assert (spec["replicas"], spec["revisionHistoryLimit"], spec["progressDeadlineSeconds"]) == (0, 10, 600)
    assert spec["strategy"] == {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": "25%", "maxSurge": "25%"}}
    assert spec["template"]["metadata"] == {"creationTimestamp": None, "labels": {"app": "web"}}
    assert spec["template"]["spec"] == {
        "containers": [
            {
                "name": "main", "image": "site/thing:v1", "resources": {}, "imagePullPolicy": "IfNotPresent",
                "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}],
                "ports": [{"containerPort": 80, "protocol": "TCP"}],
                "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File",
            }
        ],
        "restartPolicy": "Always", "terminationGracePeriodSeconds": 1, "dnsPolicy": "ClusterFirst",
        "securityContext": {}, "schedulerName": "default-scheduler",
    }  # fmt: skip
    assert (made["status"], made["metadata"]["generation"]) == ({}, 1)


def test_what_is_empty_or_unknown_is_gone(space: Space) -> None:
    body = deployment("web", replicas=0)
    pod = body["spec"]["template"]["spec"]
    pod |= {"hostNetwork": False, "nodeSelector": {}, "volumes": [], "nonsense": 1, "serviceAccountName": ""}
    pod["containers"][0] |= {"command": [], "args": None, "securityContext": {"privileged": False}, "stdin": False}
    pod["containers"][0]["env"] = [{"name": "A", "value": ""}]
    made = space.post("deployments", body).json()["spec"]["template"]["spec"]
    assert not {"hostNetwork", "nodeSelector", "volumes", "nonsense", "serviceAccountName"} & set(made)
    assert not {"command", "args", "stdin"} & set(made["containers"][0])
    assert made["containers"][0]["securityContext"] == {"privileged": False}
    assert made["containers"][0]["env"] == [{"name": "A"}]


def test_a_service_gets_an_address_that_stays(space: Space) -> None:
    made = space.post("services", service("web")).json()
    spec = made["spec"]
    assert spec["clusterIP"].startswith("10.0.")
    assert spec["clusterIPs"] == [spec["clusterIP"]]
    assert spec["ports"] == [{"protocol": "TCP", "port": 80, "targetPort": 80}]
    assert (spec["type"], spec["sessionAffinity"], made["status"]) == ("ClusterIP", "None", {"loadBalancer": {}})
    other = space.patch("services", "web", {"spec": {"clusterIP": "10.0.0.77"}})
    assert said(other) == (
        422, "Invalid",
        'Service "web" is invalid: spec.clusterIPs[0]: Invalid value: []string{"10.0.0.77"}: may not change once set',
    )  # fmt: skip
    none = space.patch("services", "web", {"spec": {"clusterIP": ""}})
    assert said(none)[2].endswith("Invalid value: []string(nil): primary clusterIP can not be unset")


def test_a_secrets_text_becomes_data(space: Space) -> None:
    body = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "stringData": {"a": "b"}}
    made = space.post("secrets", body).json()
    assert (made["data"], made["type"], "stringData" in made) == ({"a": "Yg=="}, "Opaque", False)
    assert said(space.patch("secrets", "s", {"type": "other"}))[2] == (
        'Secret "s" is invalid: type: Invalid value: "other": field is immutable'
    )


def test_other_kinds_are_filled_in(space: Space) -> None:
    claim = {
        "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "data"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
    }  # fmt: skip
    made = space.post("persistentvolumeclaims", claim).json()
    assert (made["spec"]["volumeMode"], made["status"]) == ("Filesystem", {"phase": "Pending"})
    assert made["metadata"]["finalizers"] == ["kubernetes.io/pvc-protection"]
    space.delete("persistentvolumeclaims", "data")
    space.gone("persistentvolumeclaims", "data")
    role: Json = {"name": "r", "kind": "Role"}
    body = {
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": "r"},
        "roleRef": {**role, "apiGroup": "rbac.authorization.k8s.io"},
        "subjects": [{"kind": "User", "name": "u"}, {"kind": "ServiceAccount", "name": "s", "namespace": "n"}],
    }  # fmt: skip
    made = space.post("rolebindings", body).json()
    assert [x.get("apiGroup") for x in made["subjects"]] == ["rbac.authorization.k8s.io", None]


def test_a_dry_run_leaves_nothing(space: Space) -> None:
    answer = space.post("configmaps", config_map("ghost"), dryRun="All")
    assert answer.status_code == 201
    assert answer.json()["metadata"]["uid"]
    assert space.get("configmaps", "ghost").status_code == 404
    before = space.post("configmaps", config_map("there")).json()
    assert space.patch("configmaps", "there", {"data": {"a": "9"}}, dryRun="All").json()["data"] == {"a": "9"}
    assert space.api.delete(space.path("configmaps", "there"), params={"dryRun": "All"}).is_success
    assert space.get("configmaps", "there").json() == before
    assert said(space.post("configmaps", config_map("ghost"), dryRun="Some"))[2] == (
        'CreateOptions.meta.k8s.io "" is invalid: dryRun: Unsupported value: []string{"Some"}: supported values: "All"'
    )


def test_replacing_goes_by_the_version(space: Space) -> None:
    made = space.post("configmaps", config_map("c")).json()
    made["data"] = {"b": "2"}
    after = space.put("configmaps", made).json()
    assert after["data"] == {"b": "2"}
    assert said(space.put("configmaps", made)) == (
        409, "Conflict",
        'Operation cannot be fulfilled on configmaps "c": the object has been modified; please apply your changes to '
        "the latest version and try again",
    )  # fmt: skip
    assert space.put("configmaps", config_map("c", {"c": "3"})).json()["data"] == {"c": "3"}
    assert said(space.put("configmaps", config_map("none"))) == (404, "NotFound", 'configmaps "none" not found')
    wrong = space.api.put(space.path("configmaps", "c"), json=config_map("d"))
    assert said(wrong)[2] == "the name of the object (d) does not match the name on the URL (c)"


def test_nothing_changed_is_no_new_version(space: Space) -> None:
    made = space.post("configmaps", config_map("c")).json()
    assert (
        space.put("configmaps", config_map("c")).json()["metadata"]["resourceVersion"]
        == (made["metadata"]["resourceVersion"])
    )


def test_the_generation_counts_what_is_wanted(space: Space) -> None:
    space.post("deployments", deployment("web", replicas=0))
    space.ready("deployments", "web", lambda x: x["status"].get("observedGeneration") == 1)
    labelled = space.patch("deployments", "web", {"metadata": {"labels": {"a": "b"}}}).json()
    assert labelled["metadata"]["generation"] == 1
    changed = space.patch("deployments", "web", {"spec": {"minReadySeconds": 1}}).json()
    assert changed["metadata"]["generation"] == 2
    same = space.patch("deployments", "web", {"status": {"replicas": 7}}).json()
    assert (same["metadata"]["generation"], same["status"].get("replicas")) == (2, None)


def test_the_status_has_a_door_of_its_own(space: Space) -> None:
    space.post("deployments", deployment("web", replicas=0, paused=True))
    path = space.path("deployments", "web") + "/status"
    body = {"spec": {"replicas": 5}, "status": {"conditions": [{"type": "Mine", "status": "True"}]}}
    headers = {"Content-Type": "application/merge-patch+json"}
    answer = space.api.patch(path, json=body, headers=headers)
    assert answer.is_success
    assert answer.json()["spec"]["replicas"] == 0
    assert "Mine" in [x["type"] for x in answer.json()["status"]["conditions"]]


def test_who_wrote_what_is_kept(space: Space) -> None:
    made = space.post("configmaps", config_map("c", {"a": "1", "b": "2"}, labels={"x": "y"})).json()
    assert managers(made) == {
        ("contract", "Update"): {
            "f:data": {".": {}, "f:a": {}, "f:b": {}},
            "f:metadata": {"f:labels": {".": {}, "f:x": {}}},
        }
    }
    after = space.patch("configmaps", "c", {"data": {"b": "3", "c": "4"}}, fieldManager="other").json()
    assert managers(after) == {
        ("contract", "Update"): {"f:data": {".": {}, "f:a": {}}, "f:metadata": {"f:labels": {".": {}, "f:x": {}}}},
        ("other", "Update"): {"f:data": {"f:b": {}, "f:c": {}}},
    }
    gone = space.patch("configmaps", "c", {"data": {"c": None}}, fieldManager="third").json()
    assert managers(gone)["other", "Update"] == {"f:data": {"f:b": {}}}


def test_the_fields_of_a_workload_are_named_as_the_server_does(space: Space) -> None:
    made = space.post("deployments", deployment("web", replicas=0)).json()
    assert managers(made)["contract", "Update"] == {
        "f:metadata": {"f:labels": {".": {}, "f:app": {}}},
        "f:spec": {
            "f:progressDeadlineSeconds": {}, "f:replicas": {}, "f:revisionHistoryLimit": {}, "f:selector": {},
            "f:strategy": {"f:rollingUpdate": {".": {}, "f:maxSurge": {}, "f:maxUnavailable": {}}, "f:type": {}},
            "f:template": {
                "f:metadata": {"f:labels": {".": {}, "f:app": {}}},
                "f:spec": {
                    "f:containers": {
                        'k:{"name":"main"}': {
                            ".": {}, "f:image": {}, "f:imagePullPolicy": {}, "f:name": {}, "f:resources": {},
                            "f:terminationMessagePath": {}, "f:terminationMessagePolicy": {},
                            "f:env": {
                                ".": {},
                                'k:{"name":"A"}': {".": {}, "f:name": {}, "f:value": {}},
                                'k:{"name":"B"}': {".": {}, "f:name": {}, "f:value": {}},
                            },
                            "f:ports": {
                                ".": {},
                                'k:{"containerPort":80,"protocol":"TCP"}': {
                                    ".": {}, "f:containerPort": {}, "f:protocol": {},
                                },
                            },
                        }
                    },
                    "f:dnsPolicy": {}, "f:restartPolicy": {}, "f:schedulerName": {}, "f:securityContext": {},
                    "f:terminationGracePeriodSeconds": {},
                },
            },
        },
    }  # fmt: skip


@pytest.mark.parametrize(
    ("plural", "body", "code", "reason", "message"),
    [
        ("configmaps", config_map("A_b"), 422, "Invalid", 'ConfigMap "A_b" is invalid: metadata.name: Invalid value: '
         "\"A_b\": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and "
         "must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is "
         r"'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"),
        ("configmaps", config_map(""), 422, "Invalid",
         'ConfigMap "" is invalid: metadata.name: Required value: name or generateName is required'),
        ("configmaps", config_map("a", namespace="other"), 400, "BadRequest",
         "the namespace of the provided object does not match the namespace sent on the request"),
        ("deployments", deployment("d", selector={"matchLabels": {"x": "y"}}), 422, "Invalid",
         'Deployment.apps "d" is invalid: spec.template.metadata.labels: Invalid value: map[string]string{"app":"d"}: '
         "`selector` does not match template `labels`"),
        ("deployments", deployment("d", image=""), 422, "Invalid",
         'Deployment.apps "d" is invalid: spec.template.spec.containers[0].image: Required value'),
        ("services", service("s", ports=[{"port": 0}]), 422, "Invalid",
         'Service "s" is invalid: [spec.ports[0].port: Invalid value: 0: must be between 1 and 65535, inclusive, '
         "spec.ports[0].targetPort: Invalid value: 0: must be between 1 and 65535, inclusive]"),
        ("jobs", {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "j"},
                  "spec": {"template": template({})}}, 422, "Invalid",
         'Job.batch "j" is invalid: spec.template.spec.restartPolicy: Required value: valid values: "OnFailure", '
         '"Never"'),
    ],
)  # fmt: skip
def test_what_is_wrong_is_refused(
    space: Space, plural: str, body: Json, code: int, reason: str, message: str
) -> None:  # fmt: skip
    answer = space.post(plural, body)
    assert said(answer) == (code, reason, message)
    if code == 422:
        assert answer.json()["details"]["causes"][0]["field"] in message


def test_a_value_of_the_wrong_type_is_refused(space: Space) -> None:
    code, reason, message = said(space.post("deployments", deployment("d", replicas="3")))  # type: ignore[arg-type]
    assert (code, reason) == (400, "BadRequest")
    assert message.startswith('Deployment in version "v1" cannot be handled as a Deployment: ')


def test_a_selector_never_changes(space: Space) -> None:
    space.post("deployments", deployment("d", replicas=0))
    answer = space.patch("deployments", "d", {"spec": {"selector": {"matchLabels": {"app": "other"}}}})
    assert said(answer)[2] == (
        'Deployment.apps "d" is invalid: [spec.template.metadata.labels: Invalid value: map[string]string{"app":"d"}: '
        "`selector` does not match template `labels`, spec.selector: Invalid value: "
        'v1.LabelSelector{MatchLabels:map[string]string{"app":"other"}, '
        "MatchExpressions:[]v1.LabelSelectorRequirement(nil)}: field is immutable]"
    )


def test_a_jobs_template_never_changes(space: Space) -> None:
    spec = {"parallelism": 0, "template": template({}, restartPolicy="Never")}
    made = space.post("jobs", {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "j"}, "spec": spec}).json()
    uid = made["metadata"]["uid"]
    assert made["spec"]["selector"] == {"matchLabels": {"controller-uid": uid}}
    assert made["spec"]["template"]["metadata"]["labels"] == {"controller-uid": uid, "job-name": "j"}
    changed = {"spec": {"template": {"spec": {"containers": [{"name": "main", "image": "other:v2"}]}}}}
    code, reason, message = said(space.patch("jobs", "j", changed))
    assert (code, reason) == (422, "Invalid")
    assert message.startswith('Job.batch "j" is invalid: spec.template: Invalid value: ')
    assert message.endswith(": field is immutable")


def test_a_second_one_of_the_same_name_is_refused(space: Space) -> None:
    space.post("configmaps", config_map("c"))
    answer = space.post("configmaps", config_map("c"))
    assert said(answer) == (409, "AlreadyExists", 'configmaps "c" already exists')
    assert answer.json()["details"] == {"name": "c", "kind": "configmaps"}


def test_a_namespace_must_be_there(space: Space) -> None:
    answer = space.api.post("/api/v1/namespaces/nowhere/configmaps", json=config_map("c"))
    assert said(answer) == (404, "NotFound", 'namespaces "nowhere" not found')
    assert answer.json()["details"] == {"name": "nowhere", "kind": "namespaces"}


def test_everything_that_is_wrong_is_named_at_once(space: Space) -> None:
    body = deployment("d", replicas=-1, strategy={"type": "Recreate", "rollingUpdate": {"maxSurge": 1}})
    pod = body["spec"]["template"]["spec"]
    pod["volumes"] = [{"name": "v", "hostPath": {"path": "/d"}, "emptyDir": {}}]
    two = {"httpGet": {"port": 80, "path": "/"}, "exec": {"command": ["x"]}}
    pod["containers"] = [
        {"name": "a", "image": "x", "livenessProbe": two, "volumeMounts": [{"name": "none", "mountPath": "/x"}]},
        {"name": "B", "image": "x", "ports": [{"containerPort": 0}, {"containerPort": 80, "protocol": "tcp"}],
         "env": [{"name": "1 a"}, {"name": "", "value": "x"}], "imagePullPolicy": "Nope", "readinessProbe": {}},
    ]  # fmt: skip
    causes = space.post("deployments", body).json()["details"]["causes"]
    at = "spec.template.spec"
    assert [(x["reason"], x["field"]) for x in causes] == [
        ("FieldValueInvalid", "spec.replicas"),
        ("FieldValueForbidden", f"{at}.volumes[0].hostPath"),
        ("FieldValueForbidden", f"{at}.containers[0].livenessProbe.httpGet"),
        ("FieldValueNotFound", f"{at}.containers[0].volumeMounts[0].name"),
        ("FieldValueInvalid", f"{at}.containers[1].name"),
        ("FieldValueRequired", f"{at}.containers[1].readinessProbe"),
        ("FieldValueRequired", f"{at}.containers[1].ports[0].containerPort"),
        ("FieldValueNotSupported", f"{at}.containers[1].ports[1].protocol"),
        ("FieldValueInvalid", f"{at}.containers[1].env[0].name"),
        ("FieldValueRequired", f"{at}.containers[1].env[1].name"),
        ("FieldValueNotSupported", f"{at}.containers[1].imagePullPolicy"),
        ("FieldValueForbidden", "spec.strategy.rollingUpdate"),
    ]


def test_a_service_account_gets_a_token(space: Space) -> None:
    space.post("serviceaccounts", {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "robot"}})
    (given,) = space.ready("serviceaccounts", "robot", lambda x: x.get("secrets"))
    secret = space.get("secrets", given["name"]).json()
    assert given["name"].startswith("robot-token-")
    assert secret["type"] == "kubernetes.io/service-account-token"
    assert set(secret["data"]) == {"ca.crt", "namespace", "token"}
    space.delete("serviceaccounts", "robot")
    space.gone("secrets", given["name"])


def test_keys_of_data_are_file_names(space: Space) -> None:
    assert said(space.post("configmaps", config_map("c", {"a/b": "1"})))[2] == (
        'ConfigMap "c" is invalid: data[a/b]: Invalid value: "a/b": a valid config key must consist of alphanumeric '
        "characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is "
        "'[-._a-zA-Z0-9]+')"
    )
