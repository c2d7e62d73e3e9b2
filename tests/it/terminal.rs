//! What a person on a terminal is asked; `script` (util-linux) lends the terminal.

use std::io::{Read, Write};
use std::process::{Command, Stdio};

use crate::run::Place;

/// Returns whether a terminal can be had; without one, a test that needs it is skipped, or fails where clients are required.
pub fn is_lent() -> bool {
    let lent = Command::new("script").arg("--version").output().is_ok();
    let required = std::env::var("TALMIRROR_CLIENTS").is_ok_and(|value| value == "required");
    assert!(lent || !required, "there is no `script` (util-linux) to lend a terminal");
    if !lent {
        eprintln!("skipped: there is no `script` to lend a terminal");
    }
    lent
}

/// Runs a command on a terminal of its own and answers each prompt when it is there; it has to end well.
pub fn converse(place: &Place, command: &str, answers: &[(&str, &str)]) -> String {
    converse_to(place, command, answers, 0)
}

/// Runs a command on a terminal of its own, which ends with an exit code.
pub fn converse_to(place: &Place, command: &str, answers: &[(&str, &str)], code: i32) -> String {
    converse_with(place, &[], command, answers, code)
}

/// The same, with variables.
fn converse_with(
    place: &Place,
    variables: &[(&str, &str)],
    command: &str,
    answers: &[(&str, &str)],
    code: i32,
) -> String {
    let binary = env!("CARGO_BIN_EXE_talmirror");
    converse_in_shell(place, variables, &format!("{binary} {command}"), answers, code)
}

/// The same, with a line for a shell.
fn converse_in_shell(
    place: &Place,
    variables: &[(&str, &str)],
    line: &str,
    answers: &[(&str, &str)],
    code: i32,
) -> String {
    let mut child = Command::new("script")
        .args(["--quiet", "--return", "--command", line, "/dev/null"])
        .current_dir(place.path(""))
        .env_clear()
        .env("HOME", place.path(""))
        .env("TERM", "xterm")
        .env("PATH", std::env::var_os("PATH").unwrap())
        .envs(variables.iter().copied())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("`script` of util-linux");
    let (mut stdin, mut stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let (mut said, mut seen) = (String::new(), 0);
    let mut buffer = [0; 4096];
    for (prompt, answer) in answers {
        while !said[seen..].contains(prompt) {
            let read = stdout.read(&mut buffer).unwrap();
            assert_ne!(read, 0, "no prompt `{prompt}` in:\n{said}");
            said.push_str(&String::from_utf8_lossy(&buffer[..read]));
        }
        seen += said[seen..].find(prompt).unwrap() + prompt.len();
        until_keys_are_read(child.id());
        stdin.write_all(answer.as_bytes()).unwrap();
    }
    let mut rest = Vec::new();
    stdout.read_to_end(&mut rest).unwrap();
    said.push_str(&String::from_utf8_lossy(&rest));
    assert_eq!(child.wait().unwrap().code(), Some(code), "{said}");
    said
}

/// Waits until the command under `script` reads keys: what is typed between the prompt of a password and that is thrown
/// away. Keys are read without echo, whatever the prompt is for.
pub(crate) fn until_keys_are_read(script: u32) {
    let children = format!("/proc/{script}/task/{script}/children");
    if std::fs::read_to_string(&children).is_err() {
        // Not every kernel tells.
        return;
    }
    let reads = || {
        let children = std::fs::read_to_string(&children).ok()?;
        let child = children.split_whitespace().next()?;
        let terminal = std::fs::read_link(format!("/proc/{child}/fd/0")).ok()?;
        let state = Command::new("stty").arg("-a").arg("-F").arg(terminal).output().ok()?;
        String::from_utf8_lossy(&state.stdout).split_whitespace().any(|word| word == "-echo").then_some(())
    };
    for _ in 0..3000 {
        if reads().is_some() {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    panic!("the command under `script` does not read keys");
}

#[test]
fn init_asks_for_what_is_missing() {
    if !is_lent() {
        return;
    }
    let place = Place::new();
    let said = converse(
        &place,
        "init",
        &[
            ("What is the mirror?", "\r"),
            ("Its URL", "harbor.example\r"),
            ("is not", "ftp://harbor.example\r"),
            ("Its URL", "https://harbor.example/v2/docker.io\r"),
            ("holds the path", "https://harbor.example\r"),
            ("Registries that go through it", "https://docker.io\r"),
            ("a registry name has no scheme", "registry-1.docker.io\r"),
            ("resolves to", "Not A Name\r"),
            ("Registries that go through it", ",\r"),
            ("name at least one", "docker.io, ghcr.io\r"),
            ("want a user and password?", "y"),
            ("User", "\r"),
            ("it cannot be empty", "robot$talos\r"),
            ("Where does the password come from?", "4\r"),
            ("is not a number from 1 to 3", "3\r"),
            ("Password", "\r"),
            ("Password", "s3cr3t-typed\r"),
            ("when the mirror is down?", "\r"),
            ("Talos version", "latest\r"),
            ("Talos version", "one point thirteen\r"),
            ("Talos version", "v1.13\r"),
            ("The nodes as NAME=ADDRESS", "n1=10.0.0.1,n2=10.0.0.1\r"),
            ("have the same address", "../evil=10.0.0.1\r"),
            ("The nodes as NAME=ADDRESS", "n1=10.0.0.1,n2=10.0.0.2\r"),
            ("The context of your talosconfig", "home\r"),
            ("How are secrets encrypted?", "\r"),
            ("Age recipients", "\r"),
            ("name at least one", "age1nonsense\r"),
            ("Age recipients", "someone@example.com\r"),
            ("Age recipients", "age1g5ysx9zvguw9lnrda3uqewfpufyhae22nge2udx75mfjckejhcvsmsz0fl\r"),
            ("Write .sops.yaml, mirrors.yaml?", "y"),
        ],
    );
    assert!(!said.contains("s3cr3t-typed"), "{said}");
    assert!(said.contains("password: <redacted>"), "{said}");
    // No workflow: this is no git work tree.
    assert_eq!(place.files(), [".sops.yaml", "mirrors.yaml"]);
    let text = place.read("mirrors.yaml");
    assert!(text.contains("url: https://harbor.example\n") && text.contains("password: ENC["), "{text}");
    let keys = std::fs::read_to_string(crate::run::repository("tests/vectors/sops/keys.txt")).unwrap();
    place.write("keys.txt", keys);
    let plain = place.run("decrypt mirrors.yaml").env("SOPS_AGE_KEY_FILE", "keys.txt").reveals().ok();
    assert!(plain.contains("password: s3cr3t-typed\n"), "{plain}");
    place.run("validate").ok();
}

/// What is answered at the last question decides: nothing was written before it.
#[test]
fn init_writes_nothing_before_the_last_answer() {
    if !is_lent() {
        return;
    }
    let place = Place::new();
    std::fs::create_dir(place.path(".git")).unwrap();
    let answers = [
        ("Registries that go through it", "ghcr.io\r"),
        ("want a user and password?", "n"),
        ("when the mirror is down?", "\r"),
        ("Talos version", "\r"),
        ("The nodes as NAME=ADDRESS", "\r"),
        ("How are secrets encrypted?", "2\r"),
        ("Write a workflow", "y"),
    ];
    let init = "init --kind cache --url http://10.0.1.5:5000";
    let no: Vec<_> = answers.into_iter().chain([("Write ", "n")]).collect();
    let said = converse_to(&place, init, &no, 8);
    assert!(said.contains("nothing was written") && place.files().is_empty(), "{said}");
    let yes: Vec<_> = answers.into_iter().chain([("Write ", "y")]).collect();
    converse(&place, init, &yes);
    let files =
        [".config/sops/age/keys.txt", ".github/workflows/talmirror.yaml", ".sops.yaml", "mirrors.yaml"];
    assert_eq!(place.files(), files);
    let key = place.read(".config/sops/age/keys.txt");
    let recipient = key.lines().find_map(|line| line.strip_prefix("# public key: ")).unwrap();
    assert!(place.read(".sops.yaml").contains(recipient));
    // What is there is refused before anything is asked.
    assert!(converse_to(&place, "init", &[], 3).contains("exists already"));
}

/// Ctrl-C ends the wizard at every kind of question, and the terminal keeps its cursor.
#[test]
fn init_is_interrupted_with_the_cursor_there() {
    if !is_lent() {
        return;
    }
    let place = Place::new();
    let answers: [&[(&str, &str)]; 3] = [
        &[("What is the mirror?", "\u{3}")],
        &[("What is the mirror?", "\r"), ("Its URL", "\u{3}")],
        &[
            ("What is the mirror?", "4\r"),
            ("Its URL", "http://10.0.1.5:5000\r"),
            ("Registries that go through it", "\r"),
            ("want a user and password?", "\u{3}"),
        ],
    ];
    for answers in answers {
        let said = converse_to(&place, "init", answers, 130);
        assert_eq!(said.matches("\u{1b}[?25l").count(), said.matches("\u{1b}[?25h").count(), "{said}");
        assert!(place.files().is_empty());
    }
}

/// Ctrl-D gives no answer, as in a shell.
#[test]
fn init_ends_where_no_answer_is_given() {
    if !is_lent() {
        return;
    }
    let place = Place::new();
    let said = converse_to(&place, "init", &[("What is the mirror?", "\r"), ("Its URL", "\u{4}")], 2);
    assert!(said.contains("no answer was given; nothing was written"), "{said}");
    assert!(place.files().is_empty());
}

/// On a terminal a rollout asks, and a node's line grows in its place.
#[test]
fn a_rollout_asks_and_shows_a_line_a_node() {
    if !is_lent() {
        return;
    }
    let site = crate::rollout::Site::new(1, 0, &["v1.13.9"]);
    // So long that a second passes meanwhile, at which a line is drawn.
    let slow = crate::sim::Kind::Slow(std::time::Duration::from_millis(1500));
    site.cluster.fault("cp-1", crate::sim::Fault::once(crate::sim::Step::Render, slow));
    let said = converse(&site.place, "rollout", &[("Change 1 node?", "y")]);
    assert!(said.contains("0 of 1 · 00:0"), "{said}");
    assert!(said.contains("cp-1  rendering 00:0") && said.contains("✓ read back · ✓ tried strict"), "{said}");
    assert!(said.contains("\r\u{1b}[J"), "{said}");
    // Ctrl-C at the question would leave the terminal without a cursor.
    assert!(!said.contains("\u{1b}[?25l"), "{said}");
    assert!(
        said.contains("cp-1 updated. Next: ") && said.trim_end().ends_with("--reboot if-needed"),
        "{said}"
    );
    assert!(site.is_new("cp-1"));
}

/// The shell does not give a terminal back as it was where a command has ended by itself.
#[test]
fn ctrl_c_at_the_question_gives_the_terminal_back() {
    if !is_lent() {
        return;
    }
    let site = crate::rollout::Site::new(1, 0, &["v1.13.9"]);
    let binary = env!("CARGO_BIN_EXE_talmirror");
    let line = format!("trap : INT; {binary} rollout; code=$?; stty -a; exit $code");
    let said = converse_in_shell(&site.place, &[], &line, &[("Change 1 node?", "\u{3}")], 130);
    let (before, settings) = said.split_once("speed ").unwrap_or_else(|| panic!("{said}"));
    assert!(before.contains("no node was touched"), "{said}");
    for word in ["echo", "icanon", "isig"] {
        assert!(settings.split([' ', ';', '\r', '\n']).any(|other| other == word), "{word}: {said}");
    }
    assert!(!site.is_new("cp-1"));
}

/// Colours reach the terminal; what a file says to it does not.
#[test]
fn tables_and_diffs_have_colours_and_nothing_of_a_file_acts() {
    if !is_lent() {
        return;
    }
    let place = Place::new();
    place
        .write("mirrors.yaml", "mirror: https://h.example\nkind: harbor\nregistries: [docker.io, ghcr.io]\n")
        .write(
            "n1.yaml",
            "version: v1alpha1\nmachine:\n  registries:\n    mirrors:\n      docker.io:\n        endpoints:\n          \
             - \"https://old.example/\\e[2Jx\\u009b\\u202e\"\ncluster: {}\n",
        );
    let table = converse(&place, "explain", &[]);
    assert!(table.contains("\u{1b}[1mREGISTRY") && !table.contains("\\u{"), "{table:?}");
    let version = converse(&place, "version", &[]);
    assert!(version.starts_with("talmirror ") && !version.contains("\\u{"), "{version:?}");
    let diff = converse_to(&place, "diff --against n1.yaml", &[], 1);
    assert!(diff.contains("\u{1b}[31m") || diff.contains("\u{1b}[33m"), "{diff:?}");
    assert!(diff.contains("old.example/\\u{1b}[2Jx\\u{9b}\\u{202e}"), "{diff:?}");
    assert!(!diff.contains("\u{1b}[2J") && !diff.contains('\u{9b}'), "{diff:?}");
    // So does a reader of colours, such as `less -R`.
    let piped = place.run("diff --against n1.yaml --color always").ends(1).stdout;
    assert!(
        piped.contains("\u{1b}[3") && piped.contains("\\u{1b}[2J") && !piped.contains("\u{1b}[2J"),
        "{piped:?}"
    );
}

/// What was edited is never thrown away without a word: the editor opens again.
#[test]
fn an_edit_that_cannot_be_written_opens_again() {
    if !is_lent() {
        return;
    }
    let place = Place::new();
    let keys = std::fs::read_to_string(crate::run::repository("tests/vectors/sops/keys.txt")).unwrap();
    place.write("keys.txt", keys).write("plain.yaml", "name: old\n");
    let age = "age1g5ysx9zvguw9lnrda3uqewfpufyhae22nge2udx75mfjckejhcvsmsz0fl";
    let sealed = place.args(&["encrypt", "--age", age, "plain.yaml"]).ok();
    let edit = |script: &str, answers: &[(&str, &str)], code| {
        place.write("values.yaml", &sealed).write("editor.sh", script);
        let editor = format!("sh {}", place.path("editor.sh").display());
        let variables = [("SOPS_AGE_KEY_FILE", "keys.txt"), ("EDITOR", editor.as_str())];
        converse_with(&place, &variables, "edit values.yaml", answers, code)
    };
    let value = || place.run("decrypt values.yaml").env("SOPS_AGE_KEY_FILE", "keys.txt").ok();
    // Bytes that are not UTF-8, then corrected; then an editor that fails with the work done.
    let bytes = "if grep -q new \"$1\"; then printf 'name: newer\\n' > \"$1\"; else printf 'name: new\\377\\n' > \"$1\"; fi\n";
    let said = edit(bytes, &[("Open the editor again?", "y")], 0);
    assert!(said.contains("is not UTF-8") && value() == "name: newer\n", "{said}");
    let failing = "if grep -q new \"$1\"; then true; else printf 'name: new\\n' > \"$1\"; exit 1; fi\n";
    edit(failing, &[("Open the editor again?", "y")], 0);
    assert_eq!(value(), "name: new\n");
    // Another process changes the file meanwhile: its change stays.
    let other = place.path("values.yaml").display().to_string();
    let meanwhile = format!("printf 'name: new\\n' > \"$1\"; echo '# theirs' >> {other}\n");
    let said = edit(&meanwhile, &[("Open the editor again?", "n")], 8);
    assert!(
        said.contains("changed by another process") && said.contains("what was edited is not kept"),
        "{said}"
    );
    assert_eq!(value(), "name: old\n# theirs\n", "{said}");
    assert!(place.read("values.yaml").ends_with("# theirs\n"));
    // Without a terminal it is said.
    place.write("values.yaml", &sealed).write("editor.sh", "printf '[' > \"$1\"\n");
    let editor = format!("sh {}", place.path("editor.sh").display());
    let ran =
        place.run("edit values.yaml").env("SOPS_AGE_KEY_FILE", "keys.txt").env("EDITOR", editor).ends(3);
    assert!(ran.stderr.contains("what was edited is not kept"), "{ran}");
}
