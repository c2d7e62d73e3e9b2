#![expect(clippy::disallowed_methods, reason = "looks at what is there")]

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use dialoguer::{Confirm, Input, Select};

use crate::cli::args::Global;
use crate::cli::encryption;
use crate::cli::input;
use crate::file;
use crate::finding::Severity;
use crate::inventory::{self, MirrorKind};
use crate::registries::TalosVersion;
use crate::secret::Secret;
use crate::template;
use crate::ui::exit::{self, Exit};
use crate::ui::{CliError, Ui, password};
use crate::yaml::scalar;

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
    /// For kind harbor: the project's name, with {registry} or {`registry_dashed`}
    #[arg(long, env = "TALMIRROR_PROJECT", value_name = "TEMPLATE")]
    project: Option<String>,
    /// The user the mirror wants
    #[arg(long, env = "TALMIRROR_USERNAME", value_name = "USER")]
    username: Option<String>,
    /// The environment variable that holds the password
    #[arg(long, env = "TALMIRROR_PASSWORD_ENV", value_name = "NAME", requires = "username")]
    password_env: Option<String>,
    /// The file that holds the password
    #[arg(
        long,
        env = "TALMIRROR_PASSWORD_FILE",
        value_name = "FILE",
        requires = "username",
        conflicts_with = "password_env"
    )]
    password_file: Option<String>,
    /// The program that prints the password, with its arguments, without a shell
    #[arg(long, env = "TALMIRROR_PASSWORD_COMMAND", value_name = "PROGRAM", num_args = 1.., requires = "username", conflicts_with_all = ["password_env", "password_file"])]
    password_command: Vec<String>,
    /// Read the password from standard input; it is encrypted, so --age or a `.sops.yaml` is needed
    #[arg(long, env = "TALMIRROR_PASSWORD_STDIN", requires = "username", conflicts_with_all = ["password_env", "password_file", "password_command"])]
    password_stdin: bool,
    /// What happens when the mirror is down
    #[arg(long, env = "TALMIRROR_FALLBACK", default_value = "upstream", value_name = "WHAT", value_parser = ["upstream", "never"])]
    fallback: String,
    /// The Talos version of the nodes
    #[arg(long, env = "TALMIRROR_TALOS_VERSION", value_name = "VERSION", value_parser = clap::value_parser!(TalosVersion))]
    talos_version: Option<TalosVersion>,
    /// The nodes, as NAME=ADDRESS
    #[arg(long, env = "TALMIRROR_NODES", value_name = "NAME=ADDRESS,…", value_delimiter = ',')]
    nodes: Vec<String>,
    /// The age recipients that secrets are encrypted for; they go into `.sops.yaml`
    #[arg(long, env = "TALMIRROR_AGE", value_name = "RECIPIENT", value_delimiter = ',')]
    age: Vec<String>,
    /// Where the files go
    #[arg(long, env = "TALMIRROR_DIR", default_value = ".", value_name = "DIR")]
    dir: PathBuf,
    /// The CI that checks them
    #[arg(long, env = "TALMIRROR_CI", default_value = "github", value_name = "CI")]
    ci: Ci,
    /// Write nothing; print what would be written
    #[arg(long, env = "TALMIRROR_DRY_RUN", value_parser = clap::builder::FalseyValueParser::new())]
    dry_run: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Ci {
    Github,
    None,
}

/// Where the mirror's password comes from.
enum PasswordFrom {
    Env(String),
    File(String),
    Command(Vec<String>),
    Inline(Secret<String>),
}

/// All answers, from flags or from the terminal.
struct Answers {
    kind: String,
    url: String,
    registries: Vec<String>,
    credentials: Option<(String, PasswordFrom)>,
    age: Vec<String>,
}

pub(crate) fn run(ui: &mut Ui, global: &Global, mut args: InitArgs) -> Result<Exit, CliError> {
    let answers = answers(global, &mut args)?;
    encryption::parse_recipients(&answers.age)?;
    let file = if global.inventory == "-" { "mirrors.yaml" } else { &global.inventory };
    if args.dir == Path::new(".") {
        args.dir = PathBuf::new(); // messages name files as the user would
    }
    let inventory_path = args.dir.join(file);
    let text = inventory_text(&args, &answers);
    check(&text, file)?;

    let sops_path = args.dir.join(".sops.yaml");
    let mut files: Vec<(PathBuf, Secret<String>)> = Vec::new();
    let sops_exists = sops_path.exists();
    let sops_text = sops_text(file, &answers.age);
    if !answers.age.is_empty() && !sops_exists {
        files.push((sops_path.clone(), Secret::new(sops_text.clone())));
    }
    let inline = matches!(&answers.credentials, Some((_, PasswordFrom::Inline(_))));
    if inline && !answers.age.is_empty() {
        let recipients = answers.age.clone();
        files.push((inventory_path.clone(), Secret::new(encryption::encrypt_for(&recipients, &text)?)));
    } else if inline {
        return Err(CliError::usage("a password in the inventory has to be encrypted").help(
            "name a recipient with --age, or keep the password elsewhere: --password-env, --password-file",
        ));
    } else {
        files.push((inventory_path.clone(), Secret::new(text)));
    }
    if args.ci == Ci::Github {
        let values = [
            ("version", env!("CARGO_PKG_VERSION").to_owned()),
            ("inventory", file.to_owned()),
            ("output", "talos/mirrors".to_owned()),
        ];
        let path = args.dir.join(".github/workflows/talmirror.yaml");
        files.push((path, Secret::new(template::render(template::WORKFLOW, &values))));
    }
    if args.dry_run {
        for (path, text) in &files {
            ui.result(&format!("# {}\n{}\n", path.display(), text.expose()))?;
        }
        return Ok(exit::OK);
    }
    let there: Vec<String> = files
        .iter()
        .filter(|(path, _)| path.exists())
        .map(|(path, _)| format!("`{}`", path.display()))
        .collect();
    if !there.is_empty() {
        return Err(CliError::new(
            exit::INVALID,
            format!("{} exists already; nothing was written", there.join(" and ")),
        )
        .help(
            "choose another --dir or -f, leave the workflow out with --ci none, or look at it with --dry-run",
        ));
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

/// Takes what the flags say, and asks for the rest where there is someone to ask.
fn answers(global: &Global, args: &mut InitArgs) -> Result<Answers, CliError> {
    let missing: Vec<&str> = [
        ("--kind", args.kind.is_none()),
        ("--url", args.url.is_none()),
        ("--registries", args.registries.is_empty()),
    ]
    .into_iter()
    .filter_map(|(flag, missing)| missing.then_some(flag))
    .collect();
    if !missing.is_empty() && !global.asking().is_possible() {
        return Err(CliError::usage(format!("missing: {}; and there is no terminal to ask on", missing.join(", ")))
            .help("for example: talmirror init --kind harbor --url https://harbor.example --registries docker.io,ghcr.io"));
    }
    let ask = !missing.is_empty();
    let kind = match args.kind.take() {
        Some(kind) => kind,
        None => ask_kind()?,
    };
    let url = match args.url.take() {
        Some(url) => url,
        None => Input::new()
            .with_prompt("Its URL")
            .with_initial_text("https://")
            .interact_text()
            .map_err(asked)?,
    };
    let registries = if args.registries.is_empty() {
        let default = if kind == "cache" { "*" } else { "docker.io,ghcr.io,quay.io,registry.k8s.io" };
        let text: String = Input::new()
            .with_prompt("Registries that go through it, separated by commas")
            .default(default.to_owned())
            .interact_text()
            .map_err(asked)?;
        text.split(',').map(|name| name.trim().to_owned()).filter(|name| !name.is_empty()).collect()
    } else {
        std::mem::take(&mut args.registries)
    };
    let mut age = std::mem::take(&mut args.age);
    let credentials = match (args.username.take(), ask) {
        (Some(username), _) => Some((username, password_from(args)?)),
        (None, true) => ask_credentials()?,
        (None, false) => None,
    };
    if ask && age.is_empty() {
        let text: String = Input::new()
            .with_prompt("An age recipient to encrypt secrets for (empty: none)")
            .allow_empty(true)
            .interact_text()
            .map_err(asked)?;
        age.extend(text.split(',').map(|one| one.trim().to_owned()).filter(|one| !one.is_empty()));
    }
    Ok(Answers { kind, url, registries, credentials, age })
}

fn asked(error: dialoguer::Error) -> CliError {
    let dialoguer::Error::IO(error) = error;
    if error.kind() == std::io::ErrorKind::Interrupted {
        CliError::new(exit::INTERRUPTED, "interrupted; nothing was written")
    } else {
        CliError::from_error(exit::USAGE, error).context("cannot ask on this terminal")
    }
}

fn ask_kind() -> Result<String, CliError> {
    let words = [
        "harbor: a Harbor with a project for each registry",
        "path: zot, Nexus, Artifactory: a path for each registry",
        "plain: mirrors one registry",
        "cache: serves any registry, such as talmirror-cache",
        "raw: a URL that is used as it stands",
    ];
    let at =
        Select::new().with_prompt("What is the mirror?").items(words).default(0).interact().map_err(asked)?;
    Ok(MirrorKind::NAMES.get(at).copied().unwrap_or("harbor").to_owned())
}

fn ask_credentials() -> Result<Option<(String, PasswordFrom)>, CliError> {
    if !Confirm::new()
        .with_prompt("Does it want a user and password?")
        .default(false)
        .interact()
        .map_err(asked)?
    {
        return Ok(None);
    }
    let username: String = Input::new().with_prompt("User").interact_text().map_err(asked)?;
    let words = ["an environment variable", "a file", "typed now, and encrypted in the inventory"];
    let at = Select::new()
        .with_prompt("Where does the password come from?")
        .items(words)
        .default(0)
        .interact()
        .map_err(asked)?;
    let from = match at {
        0 => PasswordFrom::Env(Input::new().with_prompt("Its name").interact_text().map_err(asked)?),
        1 => PasswordFrom::File(Input::new().with_prompt("Its path").interact_text().map_err(asked)?),
        _ => PasswordFrom::Inline(password("Password").map_err(asked)?),
    };
    Ok(Some((username, from)))
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

fn inventory_text(args: &InitArgs, answers: &Answers) -> String {
    let quoted = |text: &str| scalar(text, 0);
    let mut mirror = String::new();
    if answers.kind == "harbor" {
        let project = args.project.as_deref().unwrap_or("{registry}");
        mirror.push_str(
            "        # Harbor's project for a registry; free names go into `projects: {docker.io: hub}`.\n",
        );
        mirror.push_str(&format!("        project: {}\n", quoted(project)));
    }
    if let Some((username, from)) = &answers.credentials {
        mirror.push_str(&format!("        credentials:\n            username: {}\n", quoted(username)));
        let list =
            |argv: &[String]| argv.iter().map(|word| quoted_in_flow(word)).collect::<Vec<_>>().join(", ");
        mirror.push_str(&match from {
            PasswordFrom::Env(name) => {
                format!("            passwordFrom: {{env: {}}}\n", quoted_in_flow(name))
            }
            PasswordFrom::File(file) => {
                format!("            passwordFrom: {{file: {}}}\n", quoted_in_flow(file))
            }
            PasswordFrom::Command(argv) => {
                format!("            passwordFrom: {{command: [{}]}}\n", list(argv))
            }
            PasswordFrom::Inline(secret) => format!("            password: {}\n", quoted(secret.expose())),
        });
    }
    let registries: String =
        answers.registries.iter().map(|name| format!("    {}: {{}}\n", quoted(name))).collect();
    let nodes: String = args
        .nodes
        .iter()
        .map(|node| {
            let (name, address) = node.split_once('=').unwrap_or((node, node));
            format!("    {}: {{address: {}}}\n", quoted(name), quoted_in_flow(address))
        })
        .collect();
    let nodes = if nodes.is_empty() { nodes } else { format!("nodes:\n{nodes}") };
    let talos = args.talos_version.as_ref();
    let talos = talos.map_or_else(String::new, |version| format!("talos: {{version: {version}}}"));
    let values = [
        ("talos", talos),
        ("name", args.name.as_ref().map_or_else(|| answers.kind.clone(), |name| quoted(name))),
        ("kind", answers.kind.clone()),
        ("url", quoted(&answers.url)),
        ("mirror", mirror),
        ("registries", registries),
        ("fallback", args.fallback.clone()),
        ("nodes", nodes),
    ];
    template::render(template::INVENTORY, &values)
}

/// Writes a string so that it may stand between `{` and `}`.
fn quoted_in_flow(text: &str) -> String {
    let plain = scalar(text, 0);
    if plain.starts_with(['"', '\'']) || !plain.contains([',', '[', ']', '{', '}', ' ']) {
        plain
    } else {
        format!("'{}'", text.replace('\'', "''"))
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

fn sops_text(file: &str, recipients: &[String]) -> String {
    let name = Path::new(file).file_name().and_then(|name| name.to_str()).unwrap_or("mirrors.yaml");
    let pattern = format!(r"(^|/)({}|[^/]*\.sops\.ya?ml)$", name.replace('.', r"\."));
    let values = [("path_regex", pattern), ("recipients", recipients.join(","))];
    template::render(template::SOPS, &values)
}
