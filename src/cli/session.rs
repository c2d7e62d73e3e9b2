#![expect(clippy::disallowed_methods, reason = "finds the talosconfig")]

use std::future::Future;
use std::path::Path;

use jiff::Timestamp;
use tokio::task::{JoinError, JoinSet};

use super::args::{Global, NodeSelection, TalosArgs, TargetArgs};
use super::encryption;
use super::input;
use super::input::directory_of;
use super::inventory::{self, LoadedInventory};
use super::narrowing::Narrowing;
use crate::finding::one_line;
use crate::inventory::Role;
use crate::rollout::ConfigDigest;
use crate::secret::Secret;
use crate::talos::{
    Client, Config, Context, Endpoint, Issuer, NodeClient, Observation, Patience, SetupError, TalosError,
    Target, authority_keys, check, choose_proxy, find,
};
use crate::ui::{CliError, Ui, count, exit};

/// A certificate that ends within this many hours is worth a warning.
const SOON_HOURS: i64 = 7 * 24;

/// A node that is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LiveNode {
    /// What it is called: its name in the inventory, or what the user called it.
    pub(super) name: String,
    /// How it is reached.
    pub(super) target: Target,
    /// Whether the inventory knows it, by that name.
    pub(super) known: bool,
}

impl LiveNode {
    /// Returns whether a text names it: its name, or its address, with its port or without.
    fn is_called(&self, text: &str) -> bool {
        self.name == text || text.parse().is_ok_and(|target| is_one_place(&target, &self.target))
    }
}

/// Returns the nodes that a text names: those of that name; where none has it, those of that address.
pub(super) fn called<'n>(nodes: &'n [LiveNode], text: &str) -> Vec<&'n LiveNode> {
    let named: Vec<&LiveNode> = nodes.iter().filter(|node| node.name == text).collect();
    if named.is_empty() { nodes.iter().filter(|node| node.is_called(text)).collect() } else { named }
}

/// Returns whether two ways to name a node are of one address, as far as the texts tell.
pub(super) fn is_one_place(one: &Target, other: &Target) -> bool {
    let parts = |target: &Target| match target {
        Target::Through(host) => (host.clone(), None),
        Target::At(endpoint) => (endpoint.host().to_owned(), Some(endpoint.port())),
    };
    let ((one, one_port), (other, other_port)) = (parts(one), parts(other));
    let address = |host: &str| host.parse::<std::net::IpAddr>().ok();
    let is_same = match (address(&one), address(&other)) {
        (Some(one), Some(other)) => one == other,
        (None, None) => one.eq_ignore_ascii_case(&other),
        (Some(_), None) | (None, Some(_)) => false,
    };
    // Without a port it is Talos' own.
    let port = |port: Option<u16>, host: &str| port.unwrap_or_else(|| Endpoint::of_node(host).port());
    is_same && port(one_port, &one) == port(other_port, &other)
}

/// Returns what the inventory calls a node that a text names by its address; else the text.
pub(super) fn name_in(loaded: &LoadedInventory, text: &str) -> String {
    let nodes = &loaded.inventory.nodes;
    if nodes.contains_key(text) {
        return text.to_owned();
    }
    let is_it = |(name, node): &(&String, &crate::inventory::Node)| {
        let address = node.address.as_deref().unwrap_or(name);
        address
            .parse()
            .is_ok_and(|target| LiveNode { name: (*name).clone(), target, known: true }.is_called(text))
    };
    nodes.iter().find(is_it).map_or_else(|| text.to_owned(), |(name, _)| name.clone())
}

/// Which nodes are meant.
#[derive(Clone, Copy, Debug)]
pub(super) enum Selection<'a> {
    /// All that the inventory or the context names.
    All,
    /// These, by name in the inventory or by address.
    Nodes(&'a [String]),
    /// Those of a group of the inventory.
    Group(&'a str),
}

/// A cluster that can be asked.
#[derive(Debug)]
pub(super) struct Session {
    runtime: Option<tokio::runtime::Runtime>,
    client: Client,
    concurrency: usize,
    /// The talosconfig's file and its context, which name nodes where nothing else does.
    file: String,
    context: Context,
    /// The context's name.
    pub(super) context_name: String,
    pub(super) nodes: Vec<LiveNode>,
}

impl Session {
    /// Reads the talosconfig and finds the nodes that are meant; nothing is dialled yet.
    pub(super) fn open(
        ui: &mut Ui,
        global: &Global,
        args: &TalosArgs,
        loaded: Option<&LoadedInventory>,
        selection: Selection<'_>,
    ) -> Result<Self, CliError> {
        let mut session = Self::connect(ui, global, args, loaded)?;
        session.select(loaded, selection)?;
        Ok(session)
    }

    /// Reads the talosconfig and finds the nodes that flags name.
    pub(super) fn of(
        ui: &mut Ui,
        global: &Global,
        args: &TalosArgs,
        loaded: Option<&LoadedInventory>,
        which: &NodeSelection,
    ) -> Result<Self, CliError> {
        let mut session = Self::open(ui, global, args, loaded, selection(which, loaded)?)?;
        session.narrow(loaded, &which.narrowing)?;
        Ok(session)
    }

    /// Leaves out the nodes of another role, as far as the inventory says it, and those whose names do not fit.
    pub(super) fn narrow(
        &mut self,
        loaded: Option<&LoadedInventory>,
        narrowing: &Narrowing,
    ) -> Result<(), CliError> {
        narrowing.keep(&mut self.nodes, |node| &node.name, loaded.map(|loaded| &loaded.inventory))
    }

    /// Finds the nodes that are meant.
    pub(super) fn select(
        &mut self,
        loaded: Option<&LoadedInventory>,
        selection: Selection<'_>,
    ) -> Result<(), CliError> {
        self.nodes = select(&selection, loaded, &self.context, &self.file)?;
        self.nodes.iter().try_for_each(|node| match &node.target {
            Target::At(endpoint) => check_proxy(&self.context, endpoint),
            Target::Through(host) => check_proxy(&self.context, &Endpoint::of_node(host)),
        })
    }

    /// Reads the talosconfig; no node is meant yet.
    pub(super) fn connect(
        ui: &mut Ui,
        global: &Global,
        args: &TalosArgs,
        loaded: Option<&LoadedInventory>,
    ) -> Result<Self, CliError> {
        let (file, text) = talosconfig(ui, global, args, loaded)?;
        let config = Config::parse(text.expose()).map_err(|error| unusable(error, &file))?;
        let named = args.context.as_deref();
        let named = named.or_else(|| loaded.and_then(|loaded| loaded.inventory.talos.context.as_deref()));
        let (name, context) = config.select(named).map_err(|error| unusable(error, &file))?;
        check_certificate(ui, name, context)?;
        let endpoints = if args.endpoints.is_empty() { &context.endpoints } else { &args.endpoints };
        let endpoints = endpoints.iter().map(|endpoint| endpoint.parse::<Endpoint>());
        let endpoints = endpoints.collect::<Result<Vec<_>, _>>();
        let endpoints = endpoints.map_err(|error| CliError::from_error(exit::USAGE, error))?;
        endpoints.iter().try_for_each(|endpoint| check_proxy(context, endpoint))?;
        let proxy_url = context.proxy_url.clone();
        let proxy = Box::new(move |endpoint: &Endpoint| {
            choose_proxy(proxy_url.as_deref(), &input::environment, endpoint).ok().flatten()
        });
        let patience =
            Patience { call: args.timeout, connect: args.timeout.min(Patience::default().connect) };
        let client = Client::new(name, context, &endpoints, proxy, patience)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| CliError::from_error(exit::REMOTE, error))?;
        Ok(Self {
            runtime: Some(runtime),
            client,
            concurrency: args.concurrency.get(),
            file,
            context: context.clone(),
            context_name: name.to_owned(),
            nodes: Vec::new(),
        })
    }

    /// Returns a node's API.
    pub(super) fn node(&self, node: &LiveNode) -> NodeClient {
        self.client.node(&node.target)
    }

    /// Returns what tells this cluster from others: the digests of its authorities' keys, and at last that of the text of
    /// their certificates, which journals of old have.
    pub(super) fn fingerprints(&self) -> Vec<ConfigDigest> {
        let keys = authority_keys(&self.context).into_iter();
        let text = self.context.ca.clone().unwrap_or_default();
        keys.chain([text]).map(|text| ConfigDigest::of(&Secret::new(text))).collect()
    }

    /// Waits for work that asks nodes.
    pub(super) fn wait<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        Some(self.runtime.as_ref()?.block_on(work))
    }

    /// Asks every node, so many at once; the answers are in the order of the nodes.
    ///
    /// What `ask` returns is kept until all have answered, so it should hold no whole config.
    pub(super) fn each<T, F>(&self, ask: impl Fn(NodeClient) -> F) -> Vec<(LiveNode, T)>
    where
        T: Send + 'static,
        F: Future<Output = T> + Send + 'static,
    {
        let mut answers = Vec::new();
        self.as_they_come(ask, |at, _, answer| answers.push((at, answer)));
        answers.sort_by_key(|(at, _)| *at);
        self.nodes.iter().cloned().zip(answers.into_iter().map(|(_, answer)| answer)).collect()
    }

    /// Asks every node, so many at once, and takes each answer as it comes: they are never all there together.
    pub(super) fn as_they_come<T, F>(
        &self,
        ask: impl Fn(NodeClient) -> F,
        mut take: impl FnMut(usize, &LiveNode, T),
    ) where
        T: Send + 'static,
        F: Future<Output = T> + Send + 'static,
    {
        let Some(runtime) = &self.runtime else { return };
        runtime.block_on(async {
            let mut tasks = JoinSet::new();
            let mut answered = |result: Result<(usize, T), JoinError>| match result {
                Ok((at, answer)) => {
                    if let Some(node) = self.nodes.get(at) {
                        take(at, node, answer);
                    }
                }
                Err(error) => std::panic::resume_unwind(error.into_panic()),
            };
            for (at, node) in self.nodes.iter().enumerate() {
                if tasks.len() >= self.concurrency
                    && let Some(result) = tasks.join_next().await
                {
                    answered(result);
                }
                let answer = ask(self.client.node(&node.target));
                tasks.spawn(async move { (at, answer.await) });
            }
            while let Some(result) = tasks.join_next().await {
                answered(result);
            }
        });
    }
}

/// Returns which nodes flags mean; a group has to be one of the inventory.
fn selection<'a>(
    which: &'a NodeSelection,
    loaded: Option<&LoadedInventory>,
) -> Result<Selection<'a>, CliError> {
    let Some(group) = which.group.as_deref().filter(|group| !group.is_empty()) else {
        return Ok(if which.nodes.is_empty() { Selection::All } else { Selection::Nodes(&which.nodes) });
    };
    let Some(loaded) = loaded else {
        return Err(CliError::usage(format!("there is no inventory, and so no group `{group}`"))
            .help("name the inventory with -f"));
    };
    loaded.target(&TargetArgs { node: None, group: Some(group.to_owned()) })?;
    Ok(Selection::Group(group))
}

impl Drop for Session {
    /// Leaves a name that is still being looked up alone: the lookup has no deadline, and nothing waits for it any more.
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Tells why nodes do not answer, once for all that fail alike.
pub(super) fn tell_errors<'a>(ui: &mut Ui, errors: impl Iterator<Item = (&'a LiveNode, &'a TalosError)>) {
    let mut groups: Vec<(String, Option<&str>, Vec<&str>)> = Vec::new();
    for (node, error) in errors {
        let text = one_line(error);
        match groups.iter_mut().find(|(other, ..)| *other == text) {
            Some((.., names)) => names.push(&node.name),
            None => groups.push((text, error.help(), vec![&node.name])),
        }
    }
    for (text, help, names) in groups {
        ui.warn(&format!("{}: {text}", names.join(", ")), help);
    }
}

/// Reads the inventory where there is one; only a default that does not exist may be missing.
pub(super) fn inventory_if_any(ui: &mut Ui, global: &Global) -> Result<Option<LoadedInventory>, CliError> {
    if global.inventory == "mirrors.yaml" && !Path::new(&global.inventory).exists() {
        return Ok(None);
    }
    inventory::load_structure(ui, global).map(Some)
}

/// Finds and reads the talosconfig, decrypted where it is encrypted; returns its name and text.
fn talosconfig(
    ui: &mut Ui,
    global: &Global,
    args: &TalosArgs,
    loaded: Option<&LoadedInventory>,
) -> Result<(String, Secret<String>), CliError> {
    let file = if let Some(file) = &args.talosconfig {
        file.clone()
    } else {
        let project = loaded.and_then(|loaded| loaded.inventory.talos.talosconfig.as_deref());
        let project = project.map(|path| directory_of(&global.inventory).join(path));
        let found = find(&input::environment, std::env::home_dir().as_deref(), project.as_deref());
        let found = found.map_err(|error| {
            CliError::from_error(exit::INVALID, error).help("name one with --talosconfig or TALOSCONFIG")
        })?;
        if let Some(missing) = found.passed_over {
            let (missing, path) = (missing.display(), found.path.display());
            ui.warn(&format!("TALOSCONFIG names `{missing}`, which does not exist: `{path}` is used"), None);
        }
        found.path.display().to_string()
    };
    let (text, _) = encryption::read(&file, global)?;
    Ok((input::display_name(&file).to_owned(), text))
}

fn unusable(error: crate::talos::ConfigError, file: &str) -> CliError {
    let help = error.help();
    let error =
        CliError::from_error(exit::INVALID, error).context(format!("cannot use the talosconfig `{file}`"));
    match help {
        Some(help) => error.help(help),
        None => error,
    }
}

/// Checks the client certificate before anything is dialled, and tells what may not be meant.
fn check_certificate(ui: &mut Ui, name: &str, context: &Context) -> Result<(), CliError> {
    let now = Timestamp::now();
    let checked = check(context, now);
    let checked = checked.map_err(|source| SetupError::Certificate { context: name.to_owned(), source })?;
    let Some(certificate) = checked else { return Ok(()) };
    if certificate.issuer == Issuer::Other {
        ui.warn(
            &format!("the client certificate of context `{name}` is not signed by its `ca`"),
            Some("if the nodes refuse it, it belongs to another cluster"),
        );
    }
    let hours = certificate.expires.duration_since(now).as_hours();
    if hours < SOON_HOURS {
        let (number, noun) = if hours < 48 { (hours, "hour") } else { (hours / 24, "day") };
        let left = count(usize::try_from(number).unwrap_or_default(), noun);
        ui.warn(
            &format!("the client certificate of context `{name}` expires in {left}"),
            Some("`talosctl config new` makes another"),
        );
    }
    Ok(())
}

/// Refuses a proxy that cannot be used, before anything is dialled.
fn check_proxy(context: &Context, endpoint: &Endpoint) -> Result<(), CliError> {
    let proxy = choose_proxy(context.proxy_url.as_deref(), &input::environment, endpoint);
    proxy.map(drop).map_err(|error| {
        CliError::from_error(exit::USAGE, error).help("NO_PROXY takes an address off the proxy")
    })
}

/// Finds the nodes that are meant: from flags, else from the inventory, else from the context.
fn select(
    selection: &Selection<'_>,
    loaded: Option<&LoadedInventory>,
    context: &Context,
    file: &str,
) -> Result<Vec<LiveNode>, CliError> {
    let inventory = loaded.map(|loaded| &loaded.inventory);
    let known = |name: &str| -> Result<Option<LiveNode>, CliError> {
        let Some(node) = inventory.and_then(|inventory| inventory.nodes.get(name)) else { return Ok(None) };
        let target = parse(node.address.as_deref().unwrap_or(name))?;
        Ok(Some(LiveNode { name: name.to_owned(), target, known: true }))
    };
    let all = || inventory.into_iter().flat_map(|inventory| inventory.nodes.keys());
    let find = |text: &String| -> Result<LiveNode, CliError> {
        if let Some(node) = known(text)? {
            return Ok(node);
        }
        let target = parse(text)?;
        let by_address = all().map(|name| known(name)).filter_map(Result::transpose);
        let by_address = by_address.collect::<Result<Vec<_>, _>>()?;
        let exact = by_address.iter().find(|node| node.target == target);
        let found = exact.or_else(|| by_address.iter().find(|node| is_one_place(&node.target, &target)));
        // It is reached as it was written: with a port, it is dialled itself.
        let name = found.map_or(text, |node| &node.name).clone();
        Ok(LiveNode { name, target, known: found.is_some() })
    };
    let mut nodes: Vec<LiveNode> = match selection {
        Selection::Nodes(names) => names.iter().map(find).collect::<Result<_, _>>()?,
        Selection::Group(group) => {
            let inventory = inventory.into_iter().flat_map(|inventory| {
                inventory.nodes.iter().filter(|(name, node)| inventory.groups_of(name, node).contains(group))
            });
            inventory.map(|(name, _)| find(name)).collect::<Result<_, _>>()?
        }
        Selection::All => {
            let nodes = all().map(find).collect::<Result<Vec<_>, _>>()?;
            if nodes.is_empty() { context.nodes.iter().map(find).collect::<Result<_, _>>()? } else { nodes }
        }
    };
    let mut seen = Vec::new();
    nodes.retain(|node| {
        let new = !seen.contains(&node.target);
        seen.push(node.target.clone());
        new
    });
    if let (Selection::Group(group), true) = (selection, nodes.is_empty()) {
        return Err(CliError::usage(format!("the inventory has no node in the group `{group}`"))
            .help("list its nodes under `nodes`, or name some with -n"));
    }
    if nodes.is_empty() {
        return Err(CliError::usage("no node is named").help(format!(
            "name some with -n, under `nodes` in the inventory, or in the context of `{file}`"
        )));
    }
    Ok(nodes)
}

fn parse(text: &str) -> Result<Target, CliError> {
    text.parse().map_err(|error: crate::talos::EndpointError| CliError::from_error(exit::USAGE, error))
}

/// Whether a node has settings of its own in the inventory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Recognised {
    /// It is listed.
    Listed,
    /// It is not, and a group knows it, or the inventory has nothing that tells nodes apart.
    Grouped,
    /// It is not, and gets what every node starts from.
    No,
}

/// Finds the inventory's node that a live node is, by what the node says itself, and calls it by that name.
pub(super) fn recognise(loaded: &mut LoadedInventory, node: &mut LiveNode, seen: &Observation) -> Recognised {
    let inventory = &mut loaded.inventory;
    if node.known {
        inventory.report(&node.name, &seen.identity.addresses);
        return Recognised::Listed;
    }
    let identity = &seen.identity;
    let mut addresses = identity.addresses.clone();
    if let Target::Through(host) = &node.target {
        // The one that the user named comes first: of several groups, it says which is meant.
        // A virtual address is not a node's own.
        let named = host.parse::<std::net::IpAddr>().ok();
        addresses.splice(0..0, named.filter(|address| !seen.virtual_addresses.contains(address)));
    }
    if let Some(name) = inventory.node_of(identity.nodename.as_deref(), &addresses) {
        (node.name, node.known) = (name.to_owned(), true);
        inventory.report(&node.name, &seen.identity.addresses);
        return Recognised::Listed;
    }
    let role = match seen.role.as_deref() {
        Some("worker") => Some(Role::Worker),
        Some(_) => Some(Role::ControlPlane),
        None => None,
    };
    node.known = inventory.adopt(&node.name, &addresses, role);
    let nothing_to_know = inventory.nodes.is_empty() && inventory.groups.is_empty();
    if node.known || nothing_to_know { Recognised::Grouped } else { Recognised::No }
}
