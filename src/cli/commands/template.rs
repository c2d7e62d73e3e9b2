#![expect(clippy::disallowed_methods, reason = "looks at what is there")]

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use serde_json::json;

use crate::file::{self, Privacy};
use crate::template::{self, Delivery, FillError, Rendered, TEMPLATES, Template};
use crate::ui::exit::{self, Exit};
use crate::ui::{CliError, OutputFormat, Table, Ui};

/// Arguments of `template`.
#[derive(Debug, Args)]
#[command(
    after_help = "Without a name, templates and their settings are listed. Without --output-dir the files go to standard output; for
Kubernetes that is what `kubectl apply -f -` takes.

Examples:
  talmirror template
  talmirror template statefulset --set storage-class=fast | kubectl apply -f -
  talmirror template daemonset --output-dir deploy
  talmirror template statefulset --kind flux --set repository=https://git.example/cluster --output-dir .
  talmirror template harbor --kind flux --set host=harbor.example --output-dir .
  talmirror template systemd --output-dir . && systemd-analyze verify ./talmirror-cache.service"
)]
pub(crate) struct TemplateArgs {
    /// The template
    #[arg(value_name = "NAME", value_parser = clap::builder::PossibleValuesParser::new(TEMPLATES.iter().map(|template| template.name)))]
    name: Option<String>,
    /// How it gets into the cluster; without it kubernetes, or values for a Helm chart
    #[arg(long, env = "TALMIRROR_TEMPLATE_KIND", value_name = "KIND", requires = "name")]
    kind: Option<Kind>,
    /// A setting
    #[arg(long, env = "TALMIRROR_SET", value_name = "KEY=VALUE", value_delimiter = ',', value_parser = setting, requires = "name")]
    set: Vec<(String, String)>,
    /// Where the files go; with --kind flux or argo the root of the git repository
    #[arg(
        long,
        env = "TALMIRROR_OUTPUT_DIR",
        value_name = "DIR",
        requires = "name",
        help_heading = "Output"
    )]
    output_dir: Option<PathBuf>,
    /// Replace files that are not what would be written
    #[arg(long, env = "TALMIRROR_FORCE", value_parser = clap::builder::FalseyValueParser::new(), requires = "output_dir", help_heading = "Output")]
    force: bool,
    /// How the list is printed
    #[arg(
        short,
        long,
        env = "TALMIRROR_OUTPUT",
        default_value = "table",
        value_name = "FORMAT",
        conflicts_with = "name",
        help_heading = "Output"
    )]
    output: OutputFormat,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// Manifests, to be applied with kubectl
    Kubernetes,
    /// A Helm chart's values
    Values,
    /// The same as these, and the objects that make Flux apply them
    Flux,
    /// The same as these, and the object that makes Argo CD apply them
    Argo,
}

impl Kind {
    fn delivery(self) -> Delivery {
        match self {
            Self::Kubernetes => Delivery::Kubectl,
            Self::Values => Delivery::Values,
            Self::Flux => Delivery::Flux,
            Self::Argo => Delivery::Argo,
        }
    }
}

fn setting(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("is not a valid setting, such as namespace=mirrors")?;
    Ok((name.to_owned(), value.to_owned()))
}

pub(crate) fn run(ui: &mut Ui, args: TemplateArgs) -> Result<Exit, CliError> {
    let Some(template) = args.name.as_deref().and_then(template::find) else { return list(ui, args.output) };
    let files = template
        .fill(args.kind.map_or(template.usual_delivery(), Kind::delivery), &args.set)
        .map_err(refused)?;
    match &args.output_dir {
        Some(dir) => write(ui, dir, &files, args.force),
        None => print(ui, &files),
    }
}

fn refused(error: FillError) -> CliError {
    let help = error.help();
    let refused = CliError::usage(error.to_string());
    match help {
        Some(help) => refused.help(help),
        None => refused,
    }
}

/// Prints the files in one stream: documents of YAML where all of them are objects of Kubernetes.
fn print(ui: &mut Ui, files: &[Rendered]) -> Result<Exit, CliError> {
    let files: Vec<&Rendered> =
        files.iter().filter(|file| !file.path.ends_with("kustomization.yaml")).collect();
    let objects =
        files.iter().all(|file| file.text.contains("apiVersion: ") && file.text.contains("metadata:"));
    if !objects && files.len() > 1 {
        ui.note(&format!("these are {} files: --output-dir writes each under its name", files.len()));
    }
    for (at, file) in files.iter().enumerate() {
        if at > 0 {
            ui.result(if objects { "---\n" } else { "\n" })?;
        }
        if files.len() > 1 {
            ui.result(&format!("# {}\n", file.path))?;
        }
        ui.result(&file.text)?;
    }
    Ok(exit::OK)
}

fn write(ui: &mut Ui, dir: &Path, files: &[Rendered], force: bool) -> Result<Exit, CliError> {
    let mut changed = Vec::new();
    for file in files {
        // As the user would name it.
        let path = if dir == Path::new(".") { PathBuf::from(&file.path) } else { dir.join(&file.path) };
        let same = std::fs::read(&path).is_ok_and(|bytes| bytes == file.text.as_bytes());
        if same {
            ui.note(&format!("unchanged  {}", path.display()));
        } else {
            changed.push((path, file));
        }
    }
    let there: Vec<String> = changed
        .iter()
        .filter(|(path, _)| path.exists())
        .map(|(path, _)| format!("`{}`", path.display()))
        .collect();
    if !there.is_empty() && !force {
        let text = format!("{} already exists with other content; nothing was written", there.join(" and "));
        return Err(CliError::new(exit::INVALID, text)
            .help("choose another --output-dir, or replace them with --force"));
    }
    for (path, rendered) in changed {
        file::replace(&path, rendered.text.as_bytes(), Privacy::Open)?;
        ui.note(&format!("wrote      {}", path.display()));
    }
    Ok(exit::OK)
}

fn list(ui: &mut Ui, output: OutputFormat) -> Result<Exit, CliError> {
    // Those of GitOps too.
    let settings = |template: &Template| {
        let cluster = template.is_for_clusters();
        template.defaults(if cluster { Delivery::Flux } else { template.usual_delivery() })
    };
    let items: Vec<_> = TEMPLATES
        .iter()
        .map(|template| {
            let settings = settings(template)
                .into_iter()
                .map(|(setting, default)| json!({"name": setting.name, "default": default, "about": setting.about}));
            json!({"name": template.name, "about": template.about, "settings": settings.collect::<Vec<_>>()})
        })
        .collect();
    let value = json!({"apiVersion": "talmirror/v1", "kind": "Templates", "items": items});
    ui.output(output, &value, || {
        let mut rows = vec![["TEMPLATE", "SETTING", "DEFAULT", "WHAT IT IS"].map(str::to_owned).to_vec()];
        for template in TEMPLATES {
            rows.push(vec![
                template.name.to_owned(),
                String::new(),
                String::new(),
                template.about.to_owned(),
            ]);
            for (setting, default) in settings(template) {
                let [name, about] = [setting.name, setting.about].map(str::to_owned);
                rows.push(vec![
                    String::new(),
                    name,
                    if default.is_empty() { "-".to_owned() } else { default },
                    about,
                ]);
            }
        }
        Table { rows, ..Table::default() }
    })?;
    Ok(exit::OK)
}
