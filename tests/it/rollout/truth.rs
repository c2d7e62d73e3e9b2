//! What a run says of nodes, compared with what the nodes have: in the fault matrix, the kills, failing networks.

use serde_json::Value;

use super::{Site, last};
use crate::run::Ran;
use crate::sim::{Event, What};

/// What a last line says of nodes, the longer ones first.
const WORDS: [&str; 7] = [
    "updated, not proven",
    "updated, not rebooted",
    "back to the old config",
    "unchanged",
    "updated",
    "UNKNOWN",
    "untouched",
];

/// Returns what a last line says of each node that it names; of more than three alike, it names the number alone.
fn told(line: &str, names: &[String]) -> Vec<(String, &'static str)> {
    let (mut out, mut of_many) = (Vec::new(), None);
    for part in line.split(". ").next().unwrap_or_default().split("; ") {
        let Some(word) = WORDS.iter().find(|word| part.ends_with(*word)) else { continue };
        let who = part.strip_suffix(word).unwrap_or_default().trim();
        if let Some(number) = who.strip_suffix(" nodes").and_then(|number| number.parse::<usize>().ok()) {
            of_many = Some((number, *word));
            continue;
        }
        let named = who.split(", ").filter(|name| names.iter().any(|known| known == name));
        out.extend(named.map(|name| (name.to_owned(), *word)));
    }
    if let Some((number, word)) = of_many {
        let is_told = |name: &String| out.iter().any(|(told, _)| told == name);
        let rest: Vec<_> =
            names.iter().filter(|name| !is_told(name)).map(|name| (name.clone(), word)).collect();
        assert_eq!(rest.len(), number, "{line}");
        out.extend(rest);
    }
    out
}

impl Site {
    /// Checks what was said of what a node does by itself, against what it does; a trial's time is up at once.
    pub fn check_if_abandoned(&self, name: &str, said: &str) -> Result<(), String> {
        let node = self.cluster.node(name);
        node.end_trial();
        if said.contains("when it reboots, and maybe not before") {
            node.boot();
        }
        let old = [
            "it keeps its old config",
            "it goes back to its old config",
            "it has its old config, or goes back",
        ];
        let either = ["it keeps the new config if the commit has", "it has its old config if that has"];
        let is = |words: &[&str]| words.iter().any(|words| said.contains(words));
        let (is_old, is_new) = (self.is_old(name), self.is_new(name));
        let is_true = match (is(&old), is(&either), said.contains("it keeps the new config")) {
            (true, false, false) => is_old,
            (false, true, _) => is_old || is_new,
            (false, false, true) => is_new,
            _ => false,
        };
        let has = if is_old {
            "old"
        } else if is_new {
            "new"
        } else {
            "neither"
        };
        if is_true { Ok(()) } else { Err(format!("{name} has its {has} config")) }
    }

    /// Checks what a run says in its last line of each node, and of what it does by itself, against what the node has.
    ///
    /// What is said of a trial's end is checked at last: the time of every trial is up then.
    pub fn check_told(&self, ran: &Ran) -> Result<(), String> {
        let names = self.cluster.names();
        let told = told(last(ran), &names);
        for (name, word) in &told {
            let is_true = match *word {
                "updated" | "updated, not proven" | "updated, not rebooted" => self.is_new(name),
                "back to the old config" => self.is_old(name),
                "untouched" => self.is_old(name) && self.applies(name).is_empty(),
                "unchanged" => self.is_new(name),
                "UNKNOWN" => true,
                other => return Err(format!("{name}: {other}?")),
            };
            if !is_true {
                return Err(format!("{name} is not {word}"));
            }
        }
        for (name, _) in told.iter().filter(|(_, word)| *word == "UNKNOWN") {
            let about: String = ran
                .stderr
                .lines()
                .filter(|line| line.contains(name.as_str()))
                .map(|line| format!("{line}\n"))
                .collect();
            self.check_if_abandoned(name, &about)?;
        }
        Ok(())
    }

    /// Checks what `nodes` says of trials against the nodes that answer; a trial that ends meanwhile is told either way.
    pub fn check_nodes(&self) -> Result<(), String> {
        let before = self.pending();
        let ran = self.place.run("nodes -o json --timeout 30s").ran();
        let after = self.pending();
        let value: Value = serde_json::from_str(&ran.stdout).map_err(|error| format!("{error}: {ran}"))?;
        for item in value["items"].as_array().ok_or_else(|| ran.to_string())? {
            let name = item["name"].as_str().unwrap_or_default().to_owned();
            let find = |all: &[(String, bool)]| {
                all.iter().find(|(other, _)| *other == name).map(|(_, trial)| *trial)
            };
            let (then, now) = (find(&before), find(&after));
            if item["reachable"] != true || then != now {
                continue;
            }
            let says = item["pending"] == "trial" || item["mayBeOnTrial"] == true;
            // A node that has nothing on disk by its own word is not told from one on trial: then it says "maybe".
            let is_wrong = if then == Some(true) { !says } else { item["pending"] == "trial" };
            if is_wrong {
                return Err(format!("{name} has a trial: {then:?}, and `nodes` says: {ran}"));
            }
        }
        Ok(())
    }

    /// Returns for each node whether another config is on trial than the one on its disk.
    fn pending(&self) -> Vec<(String, bool)> {
        let of = |name: String| {
            let node = self.cluster.node(&name);
            let state = node.state();
            let pending = state.trial.is_some() && state.active.text != state.disk;
            drop(state);
            (name, pending)
        };
        self.cluster.names().into_iter().map(of).collect()
    }

    /// Returns what each node has for good, and how much had happened to it by then.
    pub fn held(&self) -> Vec<(String, Held, usize)> {
        let of = |name: String| {
            let events = self.cluster.events_of(&name).len();
            let in_trial = self.cluster.node(&name).state().trial.is_some();
            let held = match (in_trial, self.is_old(&name), self.is_new(&name)) {
                (false, true, _) => Held::Old,
                (false, _, true) => Held::New,
                _ => Held::Between,
            };
            (name, held, events)
        };
        self.cluster.names().into_iter().map(of).collect()
    }
}

/// What a node has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Held {
    /// Its old config, for good.
    Old,
    /// Its new config, for good.
    New,
    /// Something on trial, or another on disk than the one that runs.
    Between,
}

/// Checks what a resumed rollout says that an earlier one has left in between: a node that it does not name has one
/// config or the other for good, and one that it names has not. What lands late, after the node was looked at here, may be
/// told either way.
pub fn check_left(site: &Site, before: &[(String, Held, usize)], resumed: &Ran) -> Result<(), String> {
    for (name, held, events) in before {
        let later = site.cluster.events_of(name).into_iter().skip(*events);
        let own = |event: &Event| matches!(&event.what, What::Call { apply: Some(_), .. });
        if later.take_while(|event| !own(event)).any(|event| matches!(event.what, What::Config { .. })) {
            continue;
        }
        let says = |action: &str| resumed.stdout.contains(&format!("{name} was left in between: {action}"));
        let is_true = if says("its old config is sent again") {
            *held != Held::Old
        } else if says("its commit is sent again") {
            matches!(held, Held::New | Held::Between)
        } else {
            *held != Held::Between
        };
        if !is_true {
            return Err(format!("{name} was {held:?}: {resumed}"));
        }
    }
    Ok(())
}

#[test]
fn last_lines_are_understood() {
    let names = ["w-1", "w-2", "cp-1"].map(str::to_owned);
    let line = "w-1, w-2 updated; cp-1 back to the old config. cp-1: not found. Next: see";
    let told = |line| {
        told(line, &names).into_iter().map(|(name, word)| format!("{name} {word}")).collect::<Vec<_>>()
    };
    assert_eq!(told(line), ["w-1 updated", "w-2 updated", "cp-1 back to the old config"]);
    assert_eq!(told("3 nodes updated").len(), 3);
    assert_eq!(
        told("2 nodes untouched; w-2 UNKNOWN. w-2: x"),
        ["w-2 UNKNOWN", "w-1 untouched", "cp-1 untouched"]
    );
    assert_eq!(
        told("w-2 UNKNOWN; w-1, cp-1 untouched. x: y"),
        ["w-2 UNKNOWN", "w-1 untouched", "cp-1 untouched"]
    );
}
