use clap::Args;

use super::args::TargetArgs;
use super::inventory::LoadedInventory;
use super::narrowing::Narrowing;
use super::session::Selection;
use crate::inventory::Target;
use crate::ui::CliError;

/// Which nodes of the inventory are meant, by their settings.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Nodes")]
pub(crate) struct InventoryNodes {
    #[command(flatten)]
    pub(crate) target: TargetArgs,
    #[command(flatten)]
    pub(crate) narrowing: Narrowing,
}

/// Which nodes of the inventory are meant, where what is asked for may be of one or of several.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Nodes")]
pub(crate) struct SettingsOf {
    /// The nodes whose settings are meant, by name or address in the inventory
    #[arg(short, long, alias = "node", env = "TALMIRROR_NODES", value_name = "NODE", value_delimiter = ',')]
    pub(crate) nodes: Vec<String>,
    /// The group whose settings are meant; with --role or --match, its nodes
    #[arg(short, long, env = "TALMIRROR_GROUP", value_name = "GROUP", conflicts_with = "nodes")]
    pub(crate) group: Option<String>,
    #[command(flatten)]
    pub(crate) narrowing: Narrowing,
}

impl SettingsOf {
    /// Returns whether a node or a group is named.
    pub(crate) fn names_any(&self) -> bool {
        self.nodes.iter().chain(&self.group).any(|name| !name.is_empty())
    }

    /// Returns the node that is named, where nothing else is.
    pub(crate) fn only_node(&self) -> Option<&str> {
        let mut names = self.nodes.iter().filter(|name| !name.is_empty());
        let only = names.next().filter(|_| self.narrowing.is_nothing() && self.group.is_none());
        only.filter(|_| names.next().is_none()).map(String::as_str)
    }

    /// Returns whether the flags choose among the nodes, however many are left.
    pub(crate) fn chooses(&self) -> bool {
        !self.narrowing.is_nothing() || self.nodes.iter().filter(|name| !name.is_empty()).count() > 1
    }

    /// Returns whose settings are meant.
    ///
    /// # Errors
    /// If the inventory does not have what is named, or none is left.
    pub(crate) fn meant(&self, loaded: &LoadedInventory) -> Result<Meant, CliError> {
        let inventory = &loaded.inventory;
        let mut nodes: Vec<String> = Vec::new();
        // A variable that is set to nothing, as CI does, names nothing.
        for name in self.nodes.iter().filter(|name| !name.is_empty()) {
            let addresses: Vec<std::net::IpAddr> = name.parse().into_iter().collect();
            let node = match inventory.node_of(Some(name), &addresses) {
                Some(node) => node.to_owned(),
                None => loaded
                    .target(&TargetArgs { node: Some(name.clone()), group: None })
                    .map(|_| name.clone())?,
            };
            if !nodes.contains(&node) {
                nodes.push(node);
            }
        }
        if nodes.is_empty() {
            if self.narrowing.is_nothing() && self.group.as_ref().is_none_or(String::is_empty) {
                return Ok(Meant::Base);
            }
            let target = TargetArgs { node: None, group: self.group.clone() };
            return InventoryNodes { target, narrowing: self.narrowing.clone() }
                .meant(loaded, LiveNodes::NotAsked);
        }
        self.narrowing.keep(&mut nodes, |name| name, Some(inventory))?;
        Ok(Meant::Nodes(nodes))
    }
}

/// The nodes of the inventory whose settings are meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Meant {
    /// What holds for a node that is not listed: no node is.
    Base,
    /// What a group has.
    Group(String),
    /// These nodes.
    Nodes(Vec<String>),
}

impl Meant {
    /// Returns the names of the nodes that are meant.
    pub(crate) fn names(&self) -> &[String] {
        match self {
            Self::Base | Self::Group(_) => &[],
            Self::Nodes(names) => names,
        }
    }

    /// Returns what is meant where it is no more than one.
    pub(crate) fn one(&self) -> Option<TargetArgs> {
        let (node, group) = match self {
            Self::Base => (None, None),
            Self::Group(group) => (None, Some(group.clone())),
            Self::Nodes(names) => match names.as_slice() {
                [name] => (Some(name.clone()), None),
                _ => return None,
            },
        };
        Some(TargetArgs { node, group })
    }

    /// Returns whose settings are meant, one by one.
    pub(crate) fn targets(&self) -> Vec<Target<'_>> {
        match self {
            Self::Base => vec![Target::Base],
            Self::Group(group) => vec![Target::Group(group)],
            Self::Nodes(names) => names.iter().map(|name| Target::Node(name)).collect(),
        }
    }
}

/// Whether nodes are asked, too, which the inventory need not list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LiveNodes {
    Asked,
    NotAsked,
}

impl LiveNodes {
    /// Returns what a flag says that names nodes to ask.
    pub(crate) fn of(flag: Option<&Vec<String>>) -> Self {
        if flag.is_some() { Self::Asked } else { Self::NotAsked }
    }
}

impl InventoryNodes {
    /// Fails where nodes are named and no inventory is there that could say which they are.
    pub(crate) fn without_inventory(&self, file: &str, live: LiveNodes) -> Result<(), CliError> {
        if matches!(self.selection(), Selection::All)
            && (self.narrowing.is_nothing() || live == LiveNodes::Asked)
        {
            return Ok(());
        }
        Err(CliError::usage(format!("there is no inventory `{file}`, and so no nodes to choose of"))
            .help("name the inventory with -f, or leave --node, --group, --role and --match out"))
    }

    /// Returns the live nodes that are meant, before they are narrowed.
    pub(crate) fn selection(&self) -> Selection<'_> {
        // A variable that is set to nothing, as CI does, names nothing.
        let named = |name: &&String| !name.is_empty();
        match (self.target.node.as_ref().filter(named), self.target.group.as_ref().filter(named)) {
            (Some(node), _) => Selection::Nodes(std::slice::from_ref(node)),
            (None, Some(group)) => Selection::Group(group),
            (None, None) => Selection::All,
        }
    }

    /// Returns the nodes of an inventory that are meant.
    ///
    /// # Errors
    /// If the inventory does not have what is named, or none is left.
    pub(crate) fn meant(&self, loaded: &LoadedInventory, live: LiveNodes) -> Result<Meant, CliError> {
        let inventory = &loaded.inventory;
        let mut nodes: Vec<String> = match loaded.target(&self.target)? {
            Target::Node(name) => vec![name.to_owned()],
            Target::Group(group) if self.narrowing.is_nothing() => return Ok(Meant::Group(group.to_owned())),
            Target::Group(group) => {
                let nodes = inventory.nodes.iter();
                let nodes = nodes.filter(|(name, node)| inventory.groups_of(name, node).contains(&group));
                nodes.map(|(name, _)| name.clone()).collect()
            }
            // The nodes that are asked are narrowed by themselves.
            Target::Base
                if inventory.nodes.is_empty()
                    && (self.narrowing.is_nothing() || live == LiveNodes::Asked) =>
            {
                return Ok(Meant::Base);
            }
            Target::Base if inventory.nodes.is_empty() => {
                let message =
                    format!("`{}` lists no nodes, of which --role and --match could choose", loaded.file);
                return Err(CliError::usage(message).help("list them under `nodes`, or leave the flags out"));
            }
            Target::Base => inventory.nodes.keys().cloned().collect(),
        };
        self.narrowing.keep(&mut nodes, |name| name, Some(inventory))?;
        Ok(Meant::Nodes(nodes))
    }
}
