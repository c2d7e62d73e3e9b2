use super::setting::{Form, Setting};

/// Files that come out of one name.
#[derive(Debug)]
pub struct Template {
    /// Its name.
    pub name: &'static str,
    /// What it is.
    pub about: &'static str,
    /// Its files: where each goes, and its text.
    pub(super) files: &'static [(&'static str, &'static str)],
    /// What may be chosen.
    pub settings: &'static [Setting],
    /// Whether its files are objects of Kubernetes.
    pub(super) cluster: Cluster,
}

/// Whether files are for a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cluster {
    /// They are objects of Kubernetes, which Flux and Argo CD know by this name where no other is chosen.
    Objects { name: &'static str },
    /// They are a Helm chart's values, and what makes Flux and Argo CD install it with them.
    Chart,
    /// They are for a machine or a repository.
    No,
}

/// Where a released image is.
const IMAGE: &str = concat!("ghcr.io/talmirror/talmirror-cache:", env!("CARGO_PKG_VERSION"));

const NAMESPACE: Setting =
    Setting { name: "namespace", default: "talmirror-cache", about: "the namespace", form: Form::Name };
const IMAGE_SETTING: Setting =
    Setting { name: "image", default: IMAGE, about: "the image of talmirror-cache", form: Form::Image };
const CAP: Setting = Setting {
    name: "cap",
    default: "90Gi",
    about: "the most that content takes up; less than the disk has",
    form: Form::Size,
};
const PORT: Setting =
    Setting { name: "port", default: "5000", about: "the port that clients ask", form: Form::Port };
const METRICS_PORT: Setting =
    Setting { name: "metrics-port", default: "9095", about: "the port of the metrics", form: Form::Port };
const STORAGE_CLASS: Setting = Setting {
    name: "storage-class",
    default: "",
    about: "the volumes' storage class; left out: the cluster's default",
    form: Form::OptionalName,
};
const NODE_PORT: Setting = Setting {
    name: "node-port",
    default: "30500",
    about: "the port of every node that clients ask",
    form: Form::NodePort,
};
const MONITORING_NAMESPACE: Setting = Setting {
    default: "monitoring",
    name: "monitoring-namespace",
    about: "the namespace whose pods may read the metrics",
    form: Form::Name,
};
const INGRESS_NAMESPACE: Setting =
    Setting { default: "ingress-nginx", about: "the namespace of ingress-nginx", ..NAMESPACE };
const INVENTORY: Setting = Setting {
    name: "inventory",
    default: "mirrors.yaml",
    about: "the inventory, from the repository's root",
    form: Form::RelativePath,
};
const OUTPUT: Setting = Setting {
    name: "output",
    default: "talos/mirrors",
    about: "the folder of the patches, from the repository's root",
    form: Form::RelativePath,
};

const RELEASES: Setting = Setting {
    name: "releases",
    default: "https://github.com/talmirror/talmirror/releases/download",
    about: "where releases are downloaded from",
    form: Form::Url,
};

/// What Flux and Argo CD know a template by; the default is the template's own.
pub(super) const NAME: Setting = Setting {
    name: "name",
    default: "",
    about: "the name of its objects and of their file, with --kind flux or argo",
    form: Form::Name,
};
/// What a template for a cluster may also be told when Flux or Argo CD applies it.
pub(super) const GITOPS: &[Setting] = &[
    Setting {
        name: "repository",
        default: "https://git.example/cluster",
        about: "the git repository, with --kind flux or argo",
        form: Form::Repository,
    },
    Setting {
        name: "branch",
        default: "main",
        about: "its branch, with --kind flux or argo",
        form: Form::Branch,
    },
    Setting {
        name: "path",
        default: "apps/{{name}}",
        about: "the manifests' folder in it, with --kind flux or argo",
        form: Form::RelativePath,
    },
];
/// What opens the repository to Flux; Argo CD finds it by the repository's address.
pub(super) const GIT_SECRET: Setting = Setting {
    name: "git-secret",
    default: "",
    about: "the Secret in flux-system that opens it, with --kind flux; left out: it is public",
    form: Form::OptionalName,
};

/// Everything that can be written, in the order of the list that users see.
pub const TEMPLATES: &[Template] = &[
    Template {
        name: "statefulset",
        about: "talmirror-cache in a cluster, each replica with a volume of its own, asked through a port of every node",
        files: &[
            ("namespace.yaml", include_str!("../../templates/deploy/statefulset/namespace.yaml")),
            ("config.yaml", include_str!("../../templates/deploy/statefulset/config.yaml")),
            ("statefulset.yaml", include_str!("../../templates/deploy/statefulset/statefulset.yaml")),
            ("service.yaml", include_str!("../../templates/deploy/statefulset/service.yaml")),
            ("pdb.yaml", include_str!("../../templates/deploy/statefulset/pdb.yaml")),
            ("networkpolicy.yaml", include_str!("../../templates/deploy/statefulset/networkpolicy.yaml")),
        ],
        settings: &[
            NAMESPACE,
            IMAGE_SETTING,
            CAP,
            Setting { name: "size", default: "100Gi", about: "the size of each volume", form: Form::Size },
            STORAGE_CLASS,
            Setting { name: "replicas", default: "2", about: "the number of replicas", form: Form::Count },
            NODE_PORT,
            MONITORING_NAMESPACE,
        ],
        cluster: Cluster::Objects { name: "talmirror-cache" },
    },
    Template {
        name: "cache-replicas",
        about: "talmirror-cache as replicas on one bucket, which fetch each blob once between them; one set a zone with --set zone",
        files: &[
            ("namespace.yaml", include_str!("../../templates/deploy/cache-replicas/namespace.yaml")),
            ("config.yaml", include_str!("../../templates/deploy/cache-replicas/config.yaml")),
            ("statefulset.yaml", include_str!("../../templates/deploy/cache-replicas/statefulset.yaml")),
            ("service.yaml", include_str!("../../templates/deploy/cache-replicas/service.yaml")),
            ("pdb.yaml", include_str!("../../templates/deploy/cache-replicas/pdb.yaml")),
            ("networkpolicy.yaml", include_str!("../../templates/deploy/cache-replicas/networkpolicy.yaml")),
        ],
        settings: &[
            NAMESPACE,
            IMAGE_SETTING,
            Setting {
                name: "bucket",
                default: "s3://talmirror-cache",
                about: "the bucket that the replicas share, and the beginning of its keys",
                form: Form::Bucket,
            },
            Setting {
                name: "endpoint",
                default: "",
                about: "where the bucket's store is; left out: AWS",
                form: Form::OptionalUrl,
            },
            Setting {
                name: "bucket-port",
                default: "",
                about: "the port that the store's pods have, where it is not the endpoint's",
                form: Form::OptionalPort,
            },
            Setting {
                name: "region",
                default: "",
                about: "the bucket's region; left out: as the environment says",
                form: Form::OptionalName,
            },
            Setting {
                name: "bucket-secret",
                default: "talmirror-cache-bucket",
                about: "the Secret with AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
                form: Form::Name,
            },
            Setting {
                name: "peer-secret",
                default: "talmirror-cache-peers",
                about: "the Secret whose key `secret` all replicas have",
                form: Form::Name,
            },
            Setting { name: "replicas", default: "3", about: "the number of replicas", form: Form::Count },
            Setting {
                name: "zone",
                default: "",
                about: "the zone whose nodes they run on; left out: any",
                form: Form::OptionalName,
            },
            Setting { default: "18Gi", ..CAP },
            Setting { name: "size", default: "20Gi", about: "the size of each volume", form: Form::Size },
            STORAGE_CLASS,
            NODE_PORT,
            MONITORING_NAMESPACE,
        ],
        cluster: Cluster::Objects { name: "talmirror-cache-replicas" },
    },
    Template {
        name: "daemonset",
        about: "talmirror-cache on every node, for that node alone, with a folder of the node",
        files: &[
            ("namespace.yaml", include_str!("../../templates/deploy/daemonset/namespace.yaml")),
            ("config.yaml", include_str!("../../templates/deploy/daemonset/config.yaml")),
            ("daemonset.yaml", include_str!("../../templates/deploy/daemonset/daemonset.yaml")),
            ("service.yaml", include_str!("../../templates/deploy/daemonset/service.yaml")),
        ],
        settings: &[
            NAMESPACE,
            IMAGE_SETTING,
            Setting { default: "40Gi", ..CAP },
            PORT,
            METRICS_PORT,
            Setting {
                name: "host-path",
                default: "/var/lib/talmirror-cache",
                about: "the folder of the node",
                form: Form::AbsolutePath,
            },
        ],
        cluster: Cluster::Objects { name: "talmirror-cache-daemonset" },
    },
    Template {
        name: "monitoring",
        about: "what the Prometheus operator and Grafana need: monitors, alerts, a dashboard",
        files: &[
            ("servicemonitor.yaml", include_str!("../../templates/deploy/monitoring/servicemonitor.yaml")),
            ("prometheusrule.yaml", include_str!("../../templates/deploy/monitoring/prometheusrule.yaml")),
            ("dashboard.yaml", include_str!("../../templates/deploy/monitoring/dashboard.yaml")),
        ],
        settings: &[
            NAMESPACE,
            Setting {
                name: "release",
                default: "",
                about: "the label `release` by which a Prometheus finds them, as that of kube-prometheus-stack does",
                form: Form::OptionalName,
            },
        ],
        cluster: Cluster::Objects { name: "talmirror-cache-monitoring" },
    },
    Template {
        name: "harbor",
        about: "the official chart of Harbor as a pull-through cache: --kind values, flux or argo",
        files: &[
            ("values.yaml", include_str!("../../templates/harbor/values.yaml")),
            ("flux/harbor.yaml", include_str!("../../templates/harbor/flux.yaml")),
            ("argo/harbor.yaml", include_str!("../../templates/harbor/argo.yaml")),
        ],
        settings: &[
            Setting {
                name: "host",
                default: "harbor.example",
                about: "the name that nodes pull from",
                form: Form::Host,
            },
            Setting { default: "harbor", ..NAMESPACE },
            Setting {
                name: "chart-version",
                default: "1.19.1",
                about: "the chart's version, with --kind flux or argo",
                form: Form::Version,
            },
            Setting {
                name: "secret",
                default: "harbor-secrets",
                about: "the Secret with Harbor's passwords and keys",
                form: Form::Name,
            },
            Setting {
                name: "tls-secret",
                default: "harbor-tls",
                about: "the Secret that cert-manager puts the certificate into",
                form: Form::Name,
            },
            Setting {
                name: "issuer",
                default: "letsencrypt",
                about: "the ClusterIssuer of cert-manager",
                form: Form::Name,
            },
            Setting { name: "ingress-class", default: "nginx", about: "the ingress class", form: Form::Name },
            Setting {
                name: "size",
                default: "200Gi",
                about: "the size of the volume for images",
                form: Form::Size,
            },
            STORAGE_CLASS,
        ],
        cluster: Cluster::Chart,
    },
    Template {
        name: "harbor-networkpolicy",
        about: "lets the API server ask ingress-nginx whether Harbor's Ingress is valid",
        files: &[("networkpolicy.yaml", include_str!("../../templates/harbor/networkpolicy.yaml"))],
        settings: &[INGRESS_NAMESPACE],
        cluster: Cluster::Objects { name: "harbor-networkpolicy" },
    },
    Template {
        name: "harbor-ciliumpolicy",
        about: "the same, where Cilium denies",
        files: &[("ciliumpolicy.yaml", include_str!("../../templates/harbor/cilium.yaml"))],
        settings: &[INGRESS_NAMESPACE],
        cluster: Cluster::Objects { name: "harbor-ciliumpolicy" },
    },
    Template {
        name: "systemd",
        about: "talmirror-cache as a service of a machine, confined by systemd",
        files: &[
            (
                "talmirror-cache.service",
                include_str!("../../templates/deploy/systemd/talmirror-cache.service"),
            ),
            ("talmirror-cache.yaml", include_str!("../../templates/deploy/systemd/talmirror-cache.yaml")),
        ],
        settings: &[
            Setting {
                name: "binary",
                default: "/usr/bin/talmirror-cache",
                about: "where the program is",
                form: Form::AbsolutePath,
            },
            Setting {
                name: "config",
                default: "/etc/talmirror-cache.yaml",
                about: "where its configuration is",
                form: Form::AbsolutePath,
            },
            CAP,
            PORT,
            METRICS_PORT,
        ],
        cluster: Cluster::No,
    },
    Template {
        name: "compose",
        about: "talmirror-cache under docker compose",
        files: &[
            ("compose.yaml", include_str!("../../templates/deploy/compose/compose.yaml")),
            ("talmirror-cache.yaml", include_str!("../../templates/deploy/compose/talmirror-cache.yaml")),
        ],
        settings: &[IMAGE_SETTING, CAP, PORT, METRICS_PORT],
        cluster: Cluster::No,
    },
    Template {
        name: "github",
        about: "a workflow of GitHub Actions that checks the inventory and the patches",
        files: &[(".github/workflows/talmirror.yaml", include_str!("../../templates/ci/github.yaml"))],
        settings: &[INVENTORY, OUTPUT, RELEASES],
        cluster: Cluster::No,
    },
    Template {
        name: "gitlab",
        about: "a pipeline of GitLab that checks the inventory and the patches",
        files: &[(".gitlab-ci.yml", include_str!("../../templates/ci/gitlab.yaml"))],
        settings: &[INVENTORY, OUTPUT, RELEASES],
        cluster: Cluster::No,
    },
];

/// Returns the template of a name.
pub fn find(name: &str) -> Option<&'static Template> {
    TEMPLATES.iter().find(|template| template.name == name)
}
