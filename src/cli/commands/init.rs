#![expect(clippy::disallowed_methods, reason = "looks at what is there, and dates a new key")]

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use jiff::Zoned;

use crate::cli::args::Global;
use crate::cli::encryption;
use crate::cli::input::{self, directory_of};
use crate::file;
use crate::finding::Severity;
use crate::inventory::{self, MirrorKind};
use crate::registries::TalosVersion;
use crate::secret::Secret;
use crate::template::{self, Delivery};
use crate::ui::exit::{self, Exit};
use crate::ui::{CliError, Ui, agree};

mod answers;
mod texts;
mod wizard;

use answers::{Answers, PasswordFrom};
use texts::{inventory_text, sops_text};
use wizard::Open;

/// Arguments of `init`.
#[derive(Debug, Args)]
#[command(after_help = "On a terminal, what is missing is asked for. Nothing that exists is overwritten.

Examples:
  talmirror init
  talmirror init --kind harbor --url https://harbor.example --registries docker.io,ghcr.io,registry.k8s.io \\
    --username 'robot$talos' --password-env HARBOR_PASSWORD
  talmirror init --kind cache --url http://10.0.1.5:5000 --registries '*' --ci none")]
pub(crate) struct InitArgs {
    /// What the mirror is
    #[arg(long, env = "TALMIRROR_KIND", value_name = "KIND", value_parser = clap::builder::PossibleValuesParser::new(MirrorKind::NAMES))]
    kind: Option<String>,
    /// The mirror's URL
    #[arg(long, env = "TALMIRROR_URL", value_name = "URL")]
    url: Option<String>,
    /// The registries that go through it, as image references name them
    #[arg(long, env = "TALMIRROR_REGISTRIES", value_name = "NAME,…", value_delimiter = ',')]
    registries: Vec<String>,
    /// What the mirror is called in the inventory; its kind, if left out
    #[arg(long, env = "TALMIRROR_NAME", value_name = "NAME")]
    name: Option<String>,
    #[expect(clippy::doc_markdown, reason = "it is help, and a placeholder")]
    /// For kind harbor: the project's name, with {registry} or {registry_dashed}
    #[arg(long, env = "TALMIRROR_PROJECT", value_name = "TEMPLATE")]
    project: Option<String>,
    /// The user the mirror wants
    #[arg(long, env = "TALMIRROR_USERNAME", value_name = "USER", help_heading = "Secrets")]
    username: Option<String>,
    /// The environment variable that holds the password
    #[arg(
        long,
        env = "TALMIRROR_PASSWORD_ENV",
        value_name = "NAME",
        requires = "username",
        help_heading = "Secrets"
    )]
    password_env: Option<String>,
    /// The file that holds the password
    #[arg(
        long,
        env = "TALMIRROR_PASSWORD_FILE",
        value_name = "FILE",
        requires = "username",
        conflicts_with = "password_env",
        help_heading = "Secrets"
    )]
    password_file: Option<String>,
    /// The program that prints the password, with its arguments, without a shell
    #[arg(long, env = "TALMIRROR_PASSWORD_COMMAND", value_name = "PROGRAM", num_args = 1.., requires = "username", conflicts_with_all = ["password_env", "password_file"], help_heading = "Secrets")]
    password_command: Vec<String>,
    /// Read the password from standard input; it is encrypted, so --age or a `.sops.yaml` is needed
    #[arg(long, env = "TALMIRROR_PASSWORD_STDIN", value_parser = clap::builder::FalseyValueParser::new(), requires = "username", conflicts_with_all = ["password_env", "password_file", "password_command"], help_heading = "Secrets")]
    password_stdin: bool,
    /// What happens when the mirror is down: `upstream`, if left out
    #[arg(long, env = "TALMIRROR_FALLBACK", value_name = "WHAT", value_parser = ["upstream", "never"])]
    fallback: Option<String>,
    /// The Talos version of the nodes
    #[arg(long, env = "TALMIRROR_TALOS_VERSION", value_name = "VERSION", value_parser = clap::value_parser!(TalosVersion))]
    talos_version: Option<TalosVersion>,
    /// The context of the talosconfig that the nodes are in
    #[arg(long, env = "TALMIRROR_CONTEXT", value_name = "NAME")]
    context: Option<String>,
    /// The nodes, as NAME=ADDRESS
    #[arg(long, env = "TALMIRROR_NODES", value_name = "NAME=ADDRESS,…", value_delimiter = ',')]
    nodes: Vec<String>,
    /// The age recipients that secrets are encrypted for; they go into `.sops.yaml`
    #[arg(
        long,
        env = "TALMIRROR_AGE",
        value_name = "RECIPIENT",
        value_delimiter = ',',
        help_heading = "Secrets"
    )]
    age: Vec<String>,
    /// Where the files go
    #[arg(
        long = "output-dir",
        alias = "dir",
        env = "TALMIRROR_DIR",
        default_value = ".",
        value_name = "DIR",
        help_heading = "Output"
    )]
    dir: PathBuf,
    /// The CI that checks them; without it, a workflow for GitHub in a git work tree, and none elsewhere
    #[arg(long, env = "TALMIRROR_CI", value_name = "CI", help_heading = "Output")]
    ci: Option<Ci>,
    /// Write nothing; print what would be written
    #[arg(long, env = "TALMIRROR_DRY_RUN", value_parser = clap::builder::FalseyValueParser::new(), help_heading = "Output")]
    dry_run: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Ci {
    Github,
    None,
}

pub(crate) fn run(ui: &mut Ui, global: &Global, mut args: InitArgs) -> Result<Exit, CliError> {
    let file = if global.inventory == "-" { "mirrors.yaml" } else { &global.inventory }.to_owned();
    if args.dir == Path::new(".") {
        args.dir = PathBuf::new(); // messages name files as the user would
    }
    let inventory_path = args.dir.join(&file);
    if !args.dry_run {
        refuse_existing([inventory_path.as_path()].into_iter())?;
    }
    let given = from_flags(&mut args)?;
    let open = given.open;
    let missing: Vec<&str> = [("--kind", open.kind), ("--url", open.url), ("--registries", open.registries)]
        .into_iter()
        .filter_map(|(flag, missing)| missing.then_some(flag))
        .collect();
    let is_asking = !missing.is_empty();
    if is_asking && !global.asking().is_possible() {
        return Err(CliError::usage(format!("missing: {}; and there is no terminal to ask on", missing.join(", ")))
            .help("for example: talmirror init --kind harbor --url https://harbor.example --registries docker.io,ghcr.io"));
    }
    let mut answers = given.answers;
    let key_path = key_file();
    let mut new_key = None;
    if is_asking {
        let open = Open { new_key: key_path.as_ref().is_some_and(|path| !path.exists()), ..open };
        new_key = wizard::ask(&mut answers, open, &Zoned::now())?;
    }
    encryption::parse_recipients(&answers.age)?;
    let text = inventory_text(&answers);
    check(&text, &file)?;

    let sops_path = args.dir.join(".sops.yaml");
    let mut files: Vec<(PathBuf, Secret<String>)> = Vec::new();
    let sops_exists = sops_path.exists();
    let sops_text = sops_text(&file, &answers.age);
    if let (Some(key), Some(path)) = (&new_key, key_path) {
        files.push((path, key.file.clone()));
    }
    if !answers.age.is_empty() && !sops_exists {
        files.push((sops_path.clone(), Secret::new(sops_text.clone())));
    }
    let inline = answers.holds_a_password();
    if inline && answers.age.is_empty() {
        return Err(CliError::usage("a password in the inventory has to be encrypted").help(
            "name a recipient with --age, or keep the password elsewhere: --password-env, --password-file",
        ));
    }
    let sealed = if inline { encryption::encrypt_for(&answers.age, &text)? } else { text };
    files.push((inventory_path.clone(), Secret::new(sealed)));
    let in_git = directory_of(&inventory_path.display().to_string()).join(".git").exists();
    let ci = match args.ci {
        Some(ci) => ci,
        None if !in_git => Ci::None,
        None if is_asking && !agree("Write a workflow of GitHub Actions that checks the inventory?")? => {
            Ci::None
        }
        None => Ci::Github,
    };
    if ci == Ci::Github {
        files.extend(workflow(&args.dir, &file)?);
    }
    if args.dry_run {
        for (path, text) in &files {
            ui.result(&format!("# {}\n{}\n", path.display(), text.expose()))?;
        }
        return Ok(exit::OK);
    }
    refuse_existing(files.iter().map(|(path, _)| path.as_path()))?;
    if is_asking {
        let names: Vec<String> = files.iter().map(|(path, _)| path.display().to_string()).collect();
        ui.note(&format!("\n{}", inventory_text(&answers.shown())));
        if !agree(&format!("Write {}?", names.join(", ")))? {
            return Err(CliError::new(exit::STOPPED, "nothing was written"));
        }
    }
    for (path, text) in &files {
        file::create(path, text.expose().as_bytes())?;
        ui.note(&format!("wrote {}", path.display()));
    }
    if sops_exists && !answers.age.is_empty() {
        ui.warn(
            &format!("`{}` exists and was left as it is", sops_path.display()),
            Some(&format!("make sure that it has a rule such as\n{sops_text}")),
        );
    }
    ui.note(&format!("next: talmirror validate -f {}", inventory_path.display()));
    Ok(exit::OK)
}

/// Returns the workflow that checks an inventory: its name goes into commands, and so is checked.
fn workflow(dir: &Path, file: &str) -> Result<Vec<(PathBuf, Secret<String>)>, CliError> {
    let inventory = file.strip_prefix("./").unwrap_or(file);
    let chosen = [("inventory".to_owned(), inventory.to_owned())];
    let Some(template) = template::find("github") else { return Ok(Vec::new()) };
    let rendered = template.fill(Delivery::Kubectl, &chosen).map_err(|error| {
        CliError::usage(error.to_string())
            .context("cannot write a workflow for this inventory")
            .help("choose another -f, or leave the workflow out with --ci none; nothing was written")
    })?;
    Ok(rendered.into_iter().map(|file| (dir.join(&file.path), Secret::new(file.text))).collect())
}

/// Returns the file that sops reads age keys from.
fn key_file() -> Option<PathBuf> {
    let named = |name: &str| input::environment(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let config = named("XDG_CONFIG_HOME").or_else(|| Some(std::env::home_dir()?.join(".config")))?;
    Some(config.join("sops/age/keys.txt"))
}

/// Refuses to write over what is there.
fn refuse_existing<'a>(paths: impl Iterator<Item = &'a Path>) -> Result<(), CliError> {
    let there = paths.filter(|path| path.exists()).map(|path| format!("`{}`", path.display()));
    let there: Vec<String> = there.collect();
    if there.is_empty() {
        return Ok(());
    }
    let message = format!("{} exists already; nothing was written", there.join(" and "));
    Err(CliError::new(exit::INVALID, message).help(
        "choose another --output-dir or -f, leave the workflow out with --ci none, or look at it with --dry-run",
    ))
}

/// What flags say, and what they leave open.
struct FromFlags {
    answers: Answers,
    open: Open,
}

fn from_flags(args: &mut InitArgs) -> Result<FromFlags, CliError> {
    let open = Open {
        kind: args.kind.is_none(),
        url: args.url.is_none(),
        registries: args.registries.is_empty(),
        credentials: args.username.is_none(),
        fallback: args.fallback.is_none(),
        talos_version: args.talos_version.is_none(),
        context: args.context.is_none(),
        nodes: args.nodes.is_empty(),
        age: args.age.is_empty(),
        new_key: false,
    };
    let credentials = match args.username.take() {
        Some(username) => Some((username, password_from(args)?)),
        None => None,
    };
    let answers = Answers {
        kind: args.kind.take().unwrap_or_default(),
        url: args.url.take().unwrap_or_default(),
        registries: std::mem::take(&mut args.registries),
        name: args.name.take(),
        project: args.project.take(),
        credentials,
        fallback: args.fallback.take().unwrap_or_else(|| "upstream".to_owned()),
        talos_version: args.talos_version.take(),
        context: args.context.take(),
        nodes: std::mem::take(&mut args.nodes),
        age: std::mem::take(&mut args.age),
    };
    Ok(FromFlags { answers, open })
}

fn password_from(args: &InitArgs) -> Result<PasswordFrom, CliError> {
    match (&args.password_env, &args.password_file, args.password_command.as_slice(), args.password_stdin) {
        (Some(name), _, _, _) => Ok(PasswordFrom::Env(name.clone())),
        (_, Some(file), _, _) => Ok(PasswordFrom::File(file.clone())),
        (_, _, [], true) => {
            let text = input::read("-")?;
            Ok(PasswordFrom::Inline(Secret::from(text.trim_end_matches(['\r', '\n']))))
        }
        (_, _, [], false) => {
            Err(CliError::usage("there is a user, and no place for the password to come from")
                .help("--password-env, --password-file, --password-command or --password-stdin"))
        }
        (_, _, command, _) => Ok(PasswordFrom::Command(command.to_vec())),
    }
}

/// Finds out before anything is written whether the answers make a valid inventory.
fn check(text: &str, file: &str) -> Result<(), CliError> {
    let parsed = inventory::parse(text, file, &input::environment);
    let problems: Vec<_> =
        parsed.problems.into_iter().filter(|problem| problem.code.severity() == Severity::Error).collect();
    if problems.is_empty() {
        return Ok(());
    }
    let mut error = CliError::new(exit::USAGE, "the answers make no valid inventory; nothing was written");
    error.problems = problems;
    Err(error)
}
