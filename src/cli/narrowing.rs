use clap::Args;
use regex::Regex;

use crate::inventory::{Inventory, Role};
use crate::ui::CliError;

/// Which of the nodes are meant.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Nodes")]
pub(crate) struct Narrowing {
    /// Of these, the nodes of a role
    #[arg(long, env = "TALMIRROR_ROLE", value_name = "ROLE")]
    pub(crate) role: Option<RoleName>,
    /// Of these, the nodes whose names fit
    #[arg(long = "match", env = "TALMIRROR_MATCH", value_name = "REGEX")]
    pub(crate) pattern: Option<Regex>,
}

/// A role, as flags name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum RoleName {
    /// Control plane nodes
    Controlplane,
    /// Workers
    Worker,
}

impl RoleName {
    /// Returns the role.
    pub(crate) fn role(self) -> Role {
        match self {
            Self::Controlplane => Role::ControlPlane,
            Self::Worker => Role::Worker,
        }
    }
}

impl Narrowing {
    /// Keeps the nodes whose names fit, and of those the ones of the role, as far as the inventory says it.
    ///
    /// # Errors
    /// If none is left, or the inventory does not say a node's role.
    pub(crate) fn keep<T>(
        &self,
        nodes: &mut Vec<T>,
        name: impl Fn(&T) -> &str,
        inventory: Option<&Inventory>,
    ) -> Result<(), CliError> {
        self.keep_names(nodes, &name)?;
        let Some(role) = self.role.map(RoleName::role) else { return Ok(()) };
        let known = |node: &T| inventory?.nodes.get(name(node))?.role;
        if let Some(node) = nodes.iter().find(|node| known(node).is_none()) {
            let name = name(node);
            return Err(CliError::usage(format!("the inventory does not say the role of `{name}`")).help(
                format!(
                    "write it down under `nodes`, `{name}: {{role: controlplane}}` or `{name}: {{role: worker}}`"
                ),
            ));
        }
        nodes.retain(|node| known(node) == Some(role));
        if nodes.is_empty() {
            return Err(CliError::usage(format!("none of the nodes has the role {}", role.as_str())));
        }
        Ok(())
    }

    /// Keeps the nodes whose names fit.
    ///
    /// # Errors
    /// If none is left.
    pub(crate) fn keep_names<T>(
        &self,
        nodes: &mut Vec<T>,
        name: impl Fn(&T) -> &str,
    ) -> Result<(), CliError> {
        let Some(pattern) = &self.pattern else { return Ok(()) };
        nodes.retain(|node| pattern.is_match(name(node)));
        if nodes.is_empty() {
            return Err(CliError::usage(format!("no node's name fits `{pattern}`")));
        }
        Ok(())
    }

    /// Returns whether all are meant.
    pub(crate) fn is_nothing(&self) -> bool {
        self.role.is_none() && self.pattern.is_none()
    }
}
