/// How a result is printed, of all commands whose result is a table and an object.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum OutputFormat {
    /// For people
    #[default]
    #[value(alias = "text")]
    Table,
    /// One object
    Json,
    /// One object
    Yaml,
}
