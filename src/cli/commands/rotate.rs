use std::path::Path;

use clap::Args;

use crate::cli::args::Global;
use crate::cli::encryption;
use crate::cli::input::read;
use crate::cli::inventory::{LoadedInventory, load, load_structure, read_inventory};
use crate::finding::did_you_mean;
use crate::inventory::Credentials;
use crate::secret::os_random;
use crate::secret::{Secret, SecretRef};
use crate::sops::{Path as KeyPath, Value, looks_encrypted};
use crate::ui::exit::{self, Exit};
use crate::ui::{CliError, Ui, new_password};

/// Arguments of `rotate`.
#[derive(Debug, Args)]
#[command(after_help = "The diff of the inventory is the value, `lastmodified` and `mac`.

Examples:
  talmirror rotate harbor
  pass show harbor/robot | talmirror rotate harbor --password-stdin
  talmirror rotate docker.io --password-file token.txt")]
pub(crate) struct RotateArgs {
    /// The mirror whose secret is new, or the registry
    #[arg(value_name = "MIRROR")]
    name: String,
    /// Read the secret from standard input
    #[arg(long, env = "TALMIRROR_PASSWORD_STDIN", value_parser = clap::builder::FalseyValueParser::new(), help_heading = "Secrets")]
    password_stdin: bool,
    /// Read the secret from a file
    #[arg(
        long,
        env = "TALMIRROR_PASSWORD_FILE",
        value_name = "FILE",
        conflicts_with = "password_stdin",
        help_heading = "Secrets"
    )]
    password_file: Option<String>,
}

pub(crate) fn run(ui: &mut Ui, global: &Global, args: RotateArgs) -> Result<Exit, CliError> {
    if global.inventory == "-" {
        return Err(CliError::usage("standard input cannot be written to").help("name the inventory with -f"));
    }
    let file = &global.inventory;
    let structure = load_structure(ui, global)?;
    place(&structure, &args.name)?;
    if !looks_encrypted(&read_inventory(global)?) {
        return Err(CliError::new(exit::INVALID, format!("`{file}` is not encrypted"))
            .help(format!("encrypt it first: talmirror encrypt --in-place {file}")));
    }
    let loaded = load(ui, global)?;
    let place = place(&loaded, &args.name)?;
    let secret = secret(global, &args)?;
    let changed = encryption::change(global, Path::new(file), |opened, now| {
        encryption::guarded(opened.set(
            0,
            &place,
            &Value::string(secret.expose().clone()),
            now,
            &mut os_random,
        )?)
    })?;
    ui.note(&if changed {
        format!("{file}: {place} is new; next: talmirror diff, then apply it")
    } else {
        format!("{file}: unchanged, it is the secret that was there")
    });
    Ok(exit::OK)
}

/// Finds the value that holds the secret of a mirror or of a registry's own credentials.
fn place(loaded: &LoadedInventory, name: &str) -> Result<KeyPath, CliError> {
    let inventory = &loaded.inventory;
    let root = crate::yaml::parse_one(&loaded.text)?.root;
    let short = root.get("mirror").is_some() && root.get("mirrors").is_none();
    let upstream = |name: &str| {
        let placed = inventory.base.registries.get(name)?;
        placed.value.as_ref()?.upstream.credentials.get()
    };
    let (credentials, mut path) = if let Some(mirror) = inventory.mirrors.get(name) {
        let path = if short { vec!["credentials"] } else { vec!["mirrors", name, "credentials"] };
        (mirror.credentials.as_ref(), path)
    } else if inventory.base.registries.contains_key(name) {
        (upstream(name), vec!["registries", name, "upstream", "credentials"])
    } else {
        let known = inventory.mirrors.keys().chain(inventory.base.registries.keys()).map(String::as_str);
        let error = CliError::usage(format!("there is no mirror and no registry `{name}`"));
        return Err(match did_you_mean(name, known) {
            Some(near) => error.help(format!("did you mean `{near}`?")),
            None => error,
        });
    };
    let Some(credentials) = credentials else {
        return Err(CliError::new(exit::INVALID, format!("`{name}` has no credentials")));
    };
    if let reference @ (SecretRef::Env(_) | SecretRef::File(_) | SecretRef::Command(_) | SecretRef::Stdin) =
        credentials.secret()
    {
        return Err(CliError::new(
            exit::INVALID,
            format!("the secret of `{name}` does not stand in the inventory: {reference}"),
        )
        .help("change it where it is"));
    }
    path.push(match credentials {
        Credentials::Pair { .. } => "password",
        Credentials::Raw(_) => "auth",
        Credentials::IdentityToken(_) => "identityToken",
    });
    Ok(KeyPath::of_keys(path))
}

fn secret(global: &Global, args: &RotateArgs) -> Result<Secret<String>, CliError> {
    let text = match (&args.password_file, args.password_stdin) {
        (Some(file), _) => Secret::new(read(file)?),
        (None, true) => Secret::new(read("-")?),
        (None, false) if global.asking().is_possible() => {
            new_password(&format!("New secret of {}", args.name))
                .map_err(|error| CliError::new(exit::INTERRUPTED, format!("nothing was changed: {error}")))?
        }
        (None, false) => {
            return Err(CliError::usage("there is no terminal to ask for the secret on")
                .help("--password-stdin or --password-file"));
        }
    };
    let text = Secret::from(text.expose().trim_end_matches(['\r', '\n']));
    if text.expose().is_empty() {
        return Err(CliError::usage("the new secret is empty; nothing was changed"));
    }
    Ok(text)
}
