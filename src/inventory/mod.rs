//! The user's file: schema, parse, problems with codes and places, and what each node gets from it.

mod access;
mod alike;
mod check;
mod check_signatures;
mod check_url;
mod fields;
mod harbor;
mod model;
mod own_settings;
mod pem;
mod resolve;
mod rewrite;
mod sections;
mod settings;
mod unrendered;
mod use_of;
mod verification;

pub use alike::TargetSettings;
pub use check::check_version;
pub(crate) use check_url::url_flaw;
pub use harbor::{ADAPTERS, HarborProject, HarborSettings, Quota, Retention};
pub use model::{
    Credentials, Fallback, Group, Inventory, Layer, Mirror, MirrorKind, Node, Output, Placed, Registry, Role,
    Rollout, Set, Talos, Text, Tls, Upstream, Verify, Via,
};
pub use resolve::{Origin, Part, ResolveError, Route, Target};
pub use rewrite::{RewriteError, with_credentials};
pub(crate) use unrendered::{Engine, engine_of, engine_of_file, engine_of_toml, hidden_in};
pub use verification::{VerificationMethod, VerificationRule};

use crate::finding::{Code, Decoder, Problem, Problems, Severity};
use crate::yaml;

/// An inventory, if it holds no error, and everything that was found.
#[derive(Debug)]
pub struct Parsed {
    /// The inventory; `None` where one of the findings is an error.
    pub inventory: Option<Inventory>,
    /// The findings, in the order of the file.
    pub problems: Vec<Problem>,
}

/// Reads an inventory and checks it; `file` is what findings call it, `env` gives values that stand in the environment.
pub fn parse(text: &str, file: &str, env: &dyn Fn(&str) -> Option<String>) -> Parsed {
    let mut problems = Problems::new(file, text);
    let document = match yaml::parse_one(text) {
        Ok(document) => document,
        Err(error) => {
            match engine_of(text, error.position.line) {
                Some((engine, position)) => add_template(&mut problems, engine, position, file),
                None => problems.add_syntax(&error),
            }
            return Parsed { inventory: None, problems: problems.into_sorted() };
        }
    };
    let mut decoder = Decoder { problems, env, names: Vec::new(), noun: "the inventory" };
    let inventory = decoder.inventory(&document.root);
    let mut problems = decoder.problems;
    check::check(&inventory, &mut problems);
    use_of::check_use(&inventory, &mut problems);
    if text.contains("${") {
        check::check_dollars(&inventory, &mut problems);
    }
    let failed = problems.any_error();
    let mut problems = problems.into_sorted();
    problems.retain(|problem| {
        problem.code.severity() == Severity::Error
            || !inventory.allow.iter().any(|code| code.eq_ignore_ascii_case(problem.code.as_str()))
    });
    Parsed { inventory: (!failed).then_some(inventory), problems }
}

fn add_template(problems: &mut Problems<'_>, engine: Engine, position: yaml::Position, file: &str) {
    let message = format!("the file is {} that has not been rendered", engine.template());
    let problem = problems.add(Code::Template, &(0..0), "", message);
    problem.position = position;
    problem.help = Some(engine.help(file, "talmirror validate -f -"));
}

/// The fields of every mapping of the schema, by the mapping's name.
pub fn schema_fields() -> &'static [(&'static str, &'static [&'static str])] {
    fields::FIELDS
}
