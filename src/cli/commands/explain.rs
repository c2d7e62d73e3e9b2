use clap::Args;
use serde_json::json;

use crate::cli::args::{Global, TargetArgs, VersionArgs};
use crate::cli::inventory::{Loaded, default_version, load, load_structure};
use crate::finding::Code;
use crate::image::{DOCKER_HUB, Reference, api_host};
use crate::inventory::{Credentials, Inventory, Route, Target, Via};
use crate::registries::{Endpoint, TalosVersion, request_url};
use crate::secret::Hidden;
use crate::ui::exit::{self, Exit};
use crate::ui::{CliError, OutputFormat, Ui, table};

/// Arguments of `explain`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  talmirror explain docker.io/library/alpine:3.22 --node n1
  talmirror explain E112
  talmirror explain --node n1 -o json")]
pub(crate) struct ExplainArgs {
    /// An image reference, or the code of a finding; without it, all that the nodes are told
    #[arg(value_name = "IMAGE|CODE")]
    subject: Option<String>,
    #[command(flatten)]
    target: TargetArgs,
    #[command(flatten)]
    versions: VersionArgs,
    /// How it is printed
    #[arg(short, long, env = "TALMIRROR_EXPLAIN_OUTPUT", default_value = "table", value_name = "FORMAT")]
    output: OutputFormat,
    /// Fetch secrets and print them
    #[arg(long, env = "TALMIRROR_SHOW_SECRETS", value_parser = clap::builder::FalseyValueParser::new())]
    show_secrets: bool,
}

pub(crate) fn run(ui: &mut Ui, global: &Global, args: ExplainArgs) -> Result<Exit, CliError> {
    if let Some(subject) = &args.subject
        && is_code(subject)
    {
        return explain_code(ui, subject, args.output);
    }
    let mut loaded = if args.show_secrets { load(ui, global)? } else { load_structure(ui, global)? };
    let target = loaded.target(&args.target)?;
    let version = loaded.talos_version(&args.versions, target).unwrap_or_else(default_version);
    match &args.subject {
        Some(image) => explain_image(ui, &loaded, target, &version, image, args.output),
        None => explain_target(ui, &mut loaded, target, &version, &args),
    }
}

/// Returns whether a word has the form of a finding's code.
fn is_code(word: &str) -> bool {
    let digits = word.strip_prefix(['E', 'e', 'W', 'w']).unwrap_or_default();
    digits.len() == 3 && digits.bytes().all(|b| b.is_ascii_digit())
}

fn explain_code(ui: &mut Ui, word: &str, format: OutputFormat) -> Result<Exit, CliError> {
    let Some(code) = Code::find(word) else {
        let known: Vec<&str> = Code::ALL.iter().map(|code| code.as_str()).collect();
        return Err(CliError::usage(format!("there is no finding `{word}`"))
            .help(format!("known: {}", known.join(", "))));
    };
    let value = json!({
        "code": code.as_str(),
        "severity": code.severity().as_str(),
        "title": code.title(),
        "explanation": code.explanation(),
    });
    ui.output(format, &value, || {
        format!(
            "{} ({}): {}\n\n{}\n",
            code.as_str(),
            code.severity().as_str(),
            code.title(),
            code.explanation()
        )
    })?;
    Ok(exit::OK)
}

fn explain_target(
    ui: &mut Ui,
    loaded: &mut Loaded,
    target: Target<'_>,
    version: &TalosVersion,
    args: &ExplainArgs,
) -> Result<Exit, CliError> {
    let registries = if args.show_secrets {
        loaded.inventory.registries(target, version, &mut loaded.sources)?
    } else {
        loaded.inventory.registries(target, version, &mut Hidden(&mut loaded.sources))?
    };
    let routes = loaded.inventory.routes(target);
    let value = json!({
        "apiVersion": "talmirror/v1",
        "kind": "EffectiveRegistries",
        "node": args.target.node,
        "group": args.target.group,
        "talosVersion": version.to_string(),
        "registries": registries.to_json(),
    });
    ui.output(args.output, &value, || {
        let header = ["REGISTRY", "VIA", "FALLBACK", "ENDPOINTS", "SOURCE"].map(str::to_owned).to_vec();
        let rows = routes.iter().map(|(name, route)| {
            let endpoints = registries.mirrors.get(*name).map(|mirror| {
                mirror.endpoints.iter().map(|endpoint| endpoint.url.as_str()).collect::<Vec<_>>().join(" ")
            });
            let via: Vec<String> = route.via.iter().map(Via::to_string).collect();
            let dash = |text: String| if text.is_empty() { "-".to_owned() } else { text };
            vec![
                (*name).to_owned(),
                dash(via.join(",")),
                route.fallback.as_str().to_owned(),
                dash(endpoints.unwrap_or_default()),
                route.origin.to_string(),
            ]
        });
        table(&std::iter::once(header).chain(rows).collect::<Vec<_>>())
    })?;
    Ok(exit::OK)
}

/// One attempt of a pull, as it is shown.
struct Attempt {
    via: String,
    url: String,
    auth_key: String,
    username: Option<String>,
    on_failure: &'static str,
}

fn explain_image(
    ui: &mut Ui,
    loaded: &Loaded,
    target: Target<'_>,
    version: &TalosVersion,
    image: &str,
    format: OutputFormat,
) -> Result<Exit, CliError> {
    let reference: Reference = image.parse().map_err(|error| {
        CliError::from_error(exit::USAGE, error).context(format!("`{image}` is not a valid image reference"))
    })?;
    let routes = loaded.inventory.routes(target);
    let registry = reference.registry();
    let found = routes.get_key_value(registry).or_else(|| routes.get_key_value("*"));
    let found = found.map(|(name, route)| (*name, route));
    let attempts = attempts(&loaded.inventory, &reference, &routes, version);
    let notes = notes(&loaded.inventory, found, &attempts, version);
    let source =
        found.map_or_else(|| "not in the inventory".to_owned(), |(_, route)| route.origin.to_string());
    let who = match target {
        Target::Base => "any node without settings of its own".to_owned(),
        Target::Group(name) => format!("group {name}"),
        Target::Node(name) => name.to_owned(),
    };
    let value = json!({
        "apiVersion": "talmirror/v1",
        "kind": "ImageRoute",
        "image": reference.to_string(),
        "registry": registry,
        "entry": found.map(|(name, _)| name),
        "target": who,
        "talosVersion": version.to_string(),
        "source": source,
        "hops": attempts.iter().enumerate().map(|(at, attempt)| json!({
            "hop": at + 1,
            "via": attempt.via,
            "url": attempt.url,
            "authKey": attempt.auth_key,
            "username": attempt.username,
            "onFailure": attempt.on_failure,
        })).collect::<Vec<_>>(),
        "notes": notes,
    });
    ui.output(format, &value, || {
        let mut out = format!("IMAGE  {reference}   NODE  {who}   TALOS  {version}   SOURCE  {source}\n");
        let header = ["HOP", "VIA", "REQUEST", "AUTH (KEY)", "ON FAILURE"].map(str::to_owned).to_vec();
        let rows = attempts.iter().enumerate().map(|(at, attempt)| {
            let auth = attempt
                .username
                .as_ref()
                .map_or_else(|| "-".to_owned(), |user| format!("{user} ({})", attempt.auth_key));
            let request = format!("HEAD {}", attempt.url);
            vec![(at + 1).to_string(), attempt.via.clone(), request, auth, attempt.on_failure.to_owned()]
        });
        out.push_str(&table(&std::iter::once(header).chain(rows).collect::<Vec<_>>()));
        for note in &notes {
            out.push_str(&format!("note: {note}\n"));
        }
        out
    })?;
    Ok(exit::OK)
}

fn attempts(
    inventory: &Inventory,
    image: &Reference,
    routes: &indexmap::IndexMap<&str, Route<'_>>,
    version: &TalosVersion,
) -> Vec<Attempt> {
    let registry = image.registry();
    let mut attempts = Vec::new();
    let mut push = |via: &str, endpoint: &Endpoint| {
        let hop = request_url(endpoint, image);
        let username = credentials_of(inventory, routes, &hop.auth_key).map(|credentials| match credentials
            .username()
        {
            Some(user) => user.to_owned(),
            None => "token".to_owned(),
        });
        let (url, auth_key) = (hop.url, hop.auth_key);
        attempts.push(Attempt { via: via.to_owned(), url, auth_key, username, on_failure: "next" });
    };
    let mirrors = inventory.mirrors_of(routes, version);
    let found = mirrors.get_key_value(registry).or_else(|| mirrors.get_key_value("*"));
    for (name, endpoint) in
        found.iter().flat_map(|(name, mirror)| mirror.endpoints.iter().map(move |endpoint| (name, endpoint)))
    {
        let named = inventory.mirrors.iter().find(|(_, mirror)| mirror.endpoint(name) == *endpoint);
        push(named.map_or("upstream", |(name, _)| name), endpoint);
    }
    let upstream = Endpoint::new(format!("https://{}", api_host(registry)), false);
    let listed = found.is_some_and(|(_, mirror)| mirror.endpoints.last() == Some(&upstream));
    if !listed && !found.is_some_and(|(_, mirror)| mirror.skip_fallback) {
        push("upstream", &upstream);
    }
    if let Some(last) = attempts.last_mut() {
        last.on_failure = "fail";
    }
    attempts
}

/// Finds the credentials that Talos would look up for a host.
fn credentials_of<'a>(
    inventory: &'a Inventory,
    routes: &'a indexmap::IndexMap<&str, Route<'_>>,
    host: &str,
) -> Option<&'a Credentials> {
    let mirrors = inventory.mirrors.values().filter_map(|mirror| {
        let own = Endpoint::new(mirror.url.clone(), false);
        (own.host() == host).then_some(mirror.credentials.as_ref()?)
    });
    let upstreams = routes.iter().filter_map(|(name, route)| {
        let own = match route.upstream_url {
            Some(url) => Endpoint::new(url, false),
            None => Endpoint::new(format!("https://{}", api_host(name)), false),
        };
        (own.host() == host).then_some(route.credentials?)
    });
    mirrors.chain(upstreams).next()
}

fn notes(
    inventory: &Inventory,
    found: Option<(&str, &Route<'_>)>,
    attempts: &[Attempt],
    version: &TalosVersion,
) -> Vec<String> {
    let mut notes = Vec::new();
    let Some((name, route)) = found else {
        notes.push("no entry and no `*`: every node goes to the registry itself".to_owned());
        return notes;
    };
    if attempts.len() > 1 {
        notes.push(
            "when all hops fail, the kubelet often shows the first one's error (containerd#7321)".to_owned(),
        );
    }
    if !version.puller_falls_back() && name == "*" {
        notes.push(format!(
            "on Talos {version} only pods' pulls go on to the upstream; Talos' own (kubelet, etcd, installer) stop after the mirrors"
        ));
    }
    if !version.reloads_auth() && attempts.iter().any(|attempt| attempt.username.is_some()) {
        notes.push(
            "before Talos 1.14, changed credentials reach pods' pulls only after a reboot of the node"
                .to_owned(),
        );
    }
    if name == DOCKER_HUB
        && !version.has_documents()
        && attempts.iter().any(|attempt| attempt.auth_key == "docker.io")
    {
        notes.push("credentials under docker.io are never used by Talos' own puller".to_owned());
    }
    if route.via.iter().any(
        |hop| matches!(hop, Via::Mirror(name) if inventory.mirrors.get(name).is_some_and(|m| m.in_cluster)),
    ) {
        notes.push(
            "the mirror runs in this cluster: its own images need the upstream while it starts".to_owned(),
        );
    }
    notes
}
