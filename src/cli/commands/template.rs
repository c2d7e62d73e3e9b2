use clap::{Args, Subcommand, ValueEnum};

use crate::cli::args::Global;
use crate::template::{
    HARBOR_ARGO, HARBOR_CILIUM_POLICY, HARBOR_FLUX, HARBOR_NAMESPACE, HARBOR_NETWORK_POLICY, HARBOR_VALUES,
    indented, render,
};
use crate::ui::exit::{self, Exit};
use crate::ui::{CliError, Ui};

/// Arguments of `template`.
#[derive(Debug, Args)]
pub(crate) struct TemplateArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Harbor's official chart, as a mirror of Talos nodes needs it
    Harbor(HarborArgs),
}

/// Arguments of `template harbor`.
#[derive(Debug, Args)]
#[command(
    after_help = "The pods run under Pod Security `restricted`, the volumes stay when the release goes, the certificate comes from \
cert-manager, and Trivy is off. The Secret has to be there first; what it holds is told on standard error.

Examples:
  talmirror template harbor --host harbor.example > harbor.yaml
  talmirror template harbor --kind argo --host harbor.example --policy cilium"
)]
struct HarborArgs {
    /// As what it is printed
    #[arg(long, env = "TALMIRROR_TEMPLATE_KIND", default_value = "flux", value_name = "KIND")]
    kind: Kind,
    /// The host name that nodes pull from
    #[arg(long, env = "TALMIRROR_HARBOR_HOST", value_name = "HOST", value_parser = host)]
    host: String,
    /// The namespace that it runs in
    #[arg(long, env = "TALMIRROR_NAMESPACE", default_value = "harbor", value_name = "NAME", value_parser = name)]
    namespace: String,
    /// The class of the ingress
    #[arg(long, env = "TALMIRROR_INGRESS_CLASS", default_value = "nginx", value_name = "NAME", value_parser = name)]
    ingress_class: String,
    /// The cert-manager issuer of the cluster
    #[arg(long, env = "TALMIRROR_ISSUER", default_value = "letsencrypt", value_name = "NAME", value_parser = name)]
    issuer: String,
    /// The storage class; the cluster's default, if left out
    #[arg(long, env = "TALMIRROR_STORAGE_CLASS", default_value = "", value_name = "NAME", value_parser = name_or_nothing)]
    storage_class: String,
    /// The size of the volume for images
    #[arg(long, env = "TALMIRROR_STORAGE", default_value = "100Gi", value_name = "SIZE", value_parser = size)]
    storage: String,
    /// The Secret with Harbor's passwords and keys
    #[arg(long, env = "TALMIRROR_HARBOR_SECRET", default_value = "harbor-secrets", value_name = "NAME", value_parser = name)]
    secret: String,
    /// The version of the chart: 1.19.1 has Harbor 2.15
    #[arg(long, env = "TALMIRROR_CHART_VERSION", default_value = "1.19.1", value_name = "VERSION", value_parser = version)]
    chart_version: String,
    /// A policy that lets the API server ask the ingress controller's admission hook
    #[arg(long, env = "TALMIRROR_POLICY", default_value = "none", value_name = "KIND")]
    policy: Policy,
    /// The namespace of the ingress controller, for the policy
    #[arg(long, env = "TALMIRROR_INGRESS_NAMESPACE", default_value = "ingress-nginx", value_name = "NAME", value_parser = name)]
    ingress_namespace: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// A `HelmRelease` and its `HelmRepository`
    Flux,
    /// An Application
    Argo,
    /// Values for helm
    Values,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Policy {
    /// No policy
    None,
    /// A `NetworkPolicy`
    Networkpolicy,
    /// A `CiliumNetworkPolicy`
    Cilium,
}

pub(crate) fn run(ui: &mut Ui, _: &Global, args: TemplateArgs) -> Result<Exit, CliError> {
    match args.what {
        What::Harbor(args) => harbor(ui, &args),
    }
}

fn harbor(ui: &mut Ui, args: &HarborArgs) -> Result<Exit, CliError> {
    let mut values = vec![
        ("host", args.host.clone()),
        ("tlsSecret", "harbor-tls".to_owned()),
        ("ingressClass", args.ingress_class.clone()),
        ("issuer", args.issuer.clone()),
        ("storageClass", args.storage_class.clone()),
        ("storage", args.storage.clone()),
        ("secret", args.secret.clone()),
        ("namespace", args.namespace.clone()),
        ("chartVersion", args.chart_version.clone()),
        ("ingressNamespace", args.ingress_namespace.clone()),
    ];
    let chart = render(HARBOR_VALUES, &values);
    let policy = match args.policy {
        Policy::None => "",
        Policy::Networkpolicy => HARBOR_NETWORK_POLICY,
        Policy::Cilium => HARBOR_CILIUM_POLICY,
    };
    let (template, columns) = match args.kind {
        Kind::Values if args.policy != Policy::None => {
            return Err(
                CliError::usage("values hold no policy").help("--kind flux or argo prints it beside them")
            );
        }
        Kind::Values => (None, 0),
        Kind::Flux => (Some(HARBOR_FLUX), 4),
        Kind::Argo => (Some(HARBOR_ARGO), 8),
    };
    let text = match template {
        None => chart,
        Some(template) => {
            values.push(("values", indented(&chart, columns)));
            render(&format!("{HARBOR_NAMESPACE}{template}{policy}"), &values)
        }
    };
    ui.result(&text)?;
    ui.flush()?;
    ui.note(&format!(
        "Secret {}/{} needs: HARBOR_ADMIN_PASSWORD; secretKey, secret, JOBSERVICE_SECRET, REGISTRY_HTTP_SECRET (16 \
         characters each), CSRF_KEY (32); REGISTRY_PASSWD, and REGISTRY_HTPASSWD: `htpasswd -nbB harbor_registry_user \
         PASSWD`",
        args.namespace, args.secret
    ));
    ui.note("then: talmirror harbor apply");
    Ok(exit::OK)
}

/// Reads a name that YAML and Kubernetes take as it is.
fn name(text: &str) -> Result<String, String> {
    let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '.');
    let ends = text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.ends_with(|c: char| c.is_ascii_alphanumeric());
    let number = text.parse::<f64>().is_ok();
    if ends && !number && text.chars().all(good) && text.len() <= 253 {
        Ok(text.to_owned())
    } else {
        Err("a name has lower case letters, digits, `-` and `.`".to_owned())
    }
}

fn name_or_nothing(text: &str) -> Result<String, String> {
    if text.is_empty() { Ok(String::new()) } else { name(text) }
}

fn host(text: &str) -> Result<String, String> {
    let host = name(text)
        .map_err(|_| "a host is a name such as harbor.example, without scheme and port".to_owned())?;
    if host.contains('.') {
        Ok(host)
    } else {
        Err("a host is a whole name such as harbor.example".to_owned())
    }
}

fn size(text: &str) -> Result<String, String> {
    let digits = text.trim_end_matches("Gi").trim_end_matches("Ti").trim_end_matches("Mi");
    let unit = text.len() > digits.len();
    if unit && digits.parse::<u32>().is_ok_and(|number| number > 0) {
        Ok(text.to_owned())
    } else {
        Err("a size looks like 100Gi".to_owned())
    }
}

fn version(text: &str) -> Result<String, String> {
    let parts = text.split('.').collect::<Vec<_>>();
    let number = |part: &&str| part.parse::<u32>().is_ok();
    if parts.len() == 3 && parts.iter().all(number) {
        Ok(text.to_owned())
    } else {
        Err("a version of the chart looks like 1.19.1".to_owned())
    }
}
