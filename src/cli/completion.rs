//! Which values fit at a word of a command line.

use super::code_list;
use crate::yaml::Node;

/// Where names come from.
pub(super) trait Lookup {
    /// Returns the text of the inventory: that of a flag, else the usual one; empty where there is none.
    fn inventory(&mut self, named: Option<&str>) -> String;
    /// Returns the contexts of the talosconfig: that of a flag, else the usual one.
    fn contexts(&mut self, named: Option<&str>) -> Vec<String>;
}

/// What a value is a name of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Nodes,
    Groups,
    Contexts,
    Mirrors,
    /// Mirrors, and registries with credentials of their own.
    Secrets,
    /// Registries, and findings.
    Explained,
}

/// Whether a value may be one of several, separated by commas.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Number {
    One,
    Several,
}

/// Returns the values that fit at the word `at`, whole words each; none where the program knows none.
pub(super) fn values(words: &[String], at: usize, lookup: &mut dyn Lookup) -> Vec<String> {
    let word = words.get(at).map_or("", String::as_str);
    let before = at.checked_sub(1).and_then(|before| words.get(before)).map_or("", String::as_str);
    let (flag, start, typed) = match word.split_once('=') {
        Some((flag, typed)) if flag.starts_with("--") => (flag, format!("{flag}="), typed),
        _ => (before, String::new(), word),
    };
    let command = words.iter().take(at).skip(1).find(|word| !word.starts_with('-')).map(String::as_str);
    let of_flag = match (flag, command) {
        // Of the kubeconfig, which kubectl completes.
        ("--context", Some("scan" | "warm")) => None,
        ("-n" | "--nodes" | "--node" | "--canary" | "--without" | "--allow-unhealthy", _) => {
            Some((Kind::Nodes, Number::Several))
        }
        ("-g" | "--group", _) => Some((Kind::Groups, Number::One)),
        ("--context" | "--talos-context", _) => Some((Kind::Contexts, Number::One)),
        ("--mirror", _) => Some((Kind::Mirrors, Number::One)),
        _ => None,
    };
    let of_command = || {
        let begins_command = at > 1 && !word.starts_with('-');
        match command? {
            "rotate" if begins_command && before == "rotate" => Some((Kind::Secrets, Number::One)),
            "explain" if begins_command && before == "explain" => Some((Kind::Explained, Number::One)),
            _ => None,
        }
    };
    let Some((kind, number)) = of_flag.or_else(of_command) else { return Vec::new() };
    let (listed, last) = match number {
        Number::Several => typed.rsplit_once(',').map_or(("", typed), |(listed, last)| (listed, last)),
        Number::One => ("", typed),
    };
    let taken: Vec<&str> = listed.split(',').collect();
    let names = names(kind, words, lookup);
    let fits = |name: &String| is_plain(name) && name.starts_with(last) && !taken.contains(&name.as_str());
    let names = names.into_iter().filter(fits);
    let comma = if listed.is_empty() { "" } else { "," };
    names.map(|name| format!("{start}{listed}{comma}{name}")).collect()
}

fn names(kind: Kind, words: &[String], lookup: &mut dyn Lookup) -> Vec<String> {
    if kind == Kind::Contexts {
        return lookup.contexts(value_of(words, &["--talosconfig"]));
    }
    let text = lookup.inventory(value_of(words, &["-f", "--inventory", "--file"]));
    let root = crate::yaml::parse_one(&text).ok().map(|document| document.root);
    let section = |name: &str| root.as_ref().and_then(|root| root.get(name)).map(keys).unwrap_or_default();
    match kind {
        Kind::Nodes => section("nodes"),
        Kind::Groups => section("groups"),
        Kind::Contexts => Vec::new(),
        Kind::Mirrors => section("mirrors"),
        Kind::Secrets => [section("mirrors"), section("registries")].concat(),
        Kind::Explained => {
            let codes = code_list::all().into_iter().map(|listed| listed.code.to_owned());
            section("registries").into_iter().chain(codes).collect()
        }
    }
}

/// Returns whether a shell takes a name as it stands: it puts what completes into the command line, which it then runs.
fn is_plain(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._:/*@-".contains(c);
    !name.starts_with('-') && name.chars().all(plain)
}

/// Returns the names of a mapping or of a list.
fn keys(section: &Node) -> Vec<String> {
    let listed = section.items().iter().filter_map(|item| item.as_str().map(str::to_owned));
    section.entries().iter().map(|entry| entry.key.clone()).chain(listed).collect()
}

/// Returns the value of a flag, as one word or two.
fn value_of<'a>(words: &'a [String], flags: &[&str]) -> Option<&'a str> {
    let two = |pair: &'a [String]| match pair {
        [flag, value] if flags.contains(&flag.as_str()) => Some(value.as_str()),
        _ => None,
    };
    let one = |word: &'a String| {
        let (flag, value) = word.split_once('=')?;
        flags.contains(&flag).then_some(value)
    };
    words.windows(2).find_map(two).or_else(|| words.iter().find_map(one))
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fixed;

    impl Lookup for Fixed {
        fn inventory(&mut self, named: Option<&str>) -> String {
            match named {
                Some("other.yaml") => "nodes: {x1: {}}\n".to_owned(),
                _ => "nodes: {n1: {}, n2: {}, w1: {}}\ngroups: {edge: {}}\nmirrors: {harbor: {}}\nregistries: [ghcr.io]\n"
                    .to_owned(),
            }
        }

        fn contexts(&mut self, _: Option<&str>) -> Vec<String> {
            vec!["home".to_owned(), "lab".to_owned()]
        }
    }

    /// Names that a shell would act on when they stand in its command line.
    struct Hostile;

    impl Lookup for Hostile {
        fn inventory(&mut self, _: Option<&str>) -> String {
            let names = [
                "'$(id)'",
                "'`id`'",
                "'a;id'",
                "'a b'",
                "'--yes'",
                "\"a\\nb\"",
                "'$HOME'",
                "'a|b'",
                "n1",
                "'*'",
            ];
            format!("nodes: {{{}: {{}}}}\n", names.join(": {}, "))
        }

        fn contexts(&mut self, _: Option<&str>) -> Vec<String> {
            ["admin@home", "$(id)", "a'b"].map(str::to_owned).to_vec()
        }
    }

    #[test]
    fn a_name_that_a_shell_acts_on_is_not_offered() {
        let at = |words: &[&str]| {
            let words: Vec<String> = words.iter().map(|&word| word.to_owned()).collect();
            values(&words, words.len() - 1, &mut Hostile)
        };
        assert_eq!(at(&["talmirror", "diff", "-n", ""]), ["n1", "*"]);
        assert_eq!(at(&["talmirror", "nodes", "--context", ""]), ["admin@home"]);
    }

    fn at_end(line: &str) -> String {
        let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
        values(&words, words.len() - 1, &mut Fixed).join(" ")
    }

    #[test]
    fn values_fit_where_the_cursor_is() {
        for (line, fit) in [
            ("talmirror diff -n ", "n1 n2 w1"),
            ("talmirror diff -n n", "n1 n2"),
            ("talmirror diff -n n1,", "n1,n2 n1,w1"),
            ("talmirror diff -n n1,w", "n1,w1"),
            ("talmirror diff --nodes=n1,n", "--nodes=n1,n2"),
            ("talmirror -f other.yaml diff -n ", "x1"),
            ("talmirror diff --inventory=other.yaml -n ", "x1"),
            ("talmirror nodes -g ", "edge"),
            ("talmirror rollout --canary w", "w1"),
            ("talmirror nodes --context ", "home lab"),
            ("talmirror scan --talos-context ", "home lab"),
            ("talmirror scan --context ", ""),
            ("talmirror rollout --without n", "n1 n2"),
            ("talmirror rollout --allow-unhealthy n1,w", "n1,w1"),
            ("talmirror harbor plan --mirror ", "harbor"),
            ("talmirror rotate ", "harbor ghcr.io"),
            ("talmirror rotate h", "harbor"),
            ("talmirror explain gh", "ghcr.io"),
            ("talmirror explain E11", "E110 E111 E112 E113 E114 E115 E116 E117 E118 E119"),
            ("talmirror explain V30", "V301 V302 V303 V304 V305 V306 V307 V308 V309"),
            ("talmirror explain ghcr.io --ou", ""),
            ("talmirror generate --format ", ""),
            ("talmirror ", ""),
        ] {
            assert_eq!(at_end(line), fit, "{line}");
        }
    }
}
