//! The rules of the house that no compiler checks: who may name what, and what goes with what.
//!
//! They read the source tree as text, comments and strings left out, and never compile it. Each
//! rule is shown to fire on a bad example, so that a rule which finds nothing means something.
#![cfg(test)]

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use clearday_jobs::JobKind;

/// A crate and the only folders below `src/` and `jobs/` that may name it.
const HOMES: &[(&str, &[&str])] = &[
    ("apalis", &["src/queue/"]),
    ("apalis_core", &["src/queue/"]),
    // The client of `jobs/` is behind its feature.
    ("redis", &["src/queue/", "jobs/src/client"]),
    ("lettre", &["src/connectors/"]),
    ("reqwest", &["src/connectors/"]),
    ("sqlx", &["src/store/"]),
];

/// What would make a decision depend on more than its arguments.
const IMPURE_CRATES: &[&str] = &["axum", "tokio", "tokio_util"];
const IMPURE_WORDS: &[&str] = &["async", "await", "SystemTime"];
const IMPURE_CLOCKS: &[&str] = &["Instant", "Local", "Utc"];
const IMPURE_STD: &[&str] = &["env", "fs", "io", "net", "process", "thread"];

/// What an upstream system must not have to compile for the contract alone.
const HEAVY_CRATES: &[&str] = &[
    "apalis", "axum", "hyper", "redis", "reqwest", "sqlx", "tokio",
];

/// Written in pieces, so that this file passes its own rules.
const MACHINE_PATHS: &[&str] = &[
    concat!("/wo", "rk/"),
    concat!("/ro", "ot/"),
    concat!("/ho", "me/"),
    concat!("/Us", "ers/"),
];
const UNFINISHED: &[&str] = &[concat!("TO", "DO"), concat!("FIX", "ME")];

#[test]
fn every_file_keeps_the_rules() {
    let findings: Vec<String> = tree()
        .iter()
        .flat_map(|(path, text)| check_file(path, text))
        .collect();
    assert_none(&findings);
}

#[test]
fn every_job_that_is_carried_out_stands_on_every_shelf() {
    let tree = tree();
    let paths: Vec<&str> = tree.iter().map(|(path, _)| path.as_str()).collect();
    assert_none(&check_shelves(&paths));
}

#[test]
fn both_databases_have_the_same_migrations() {
    let tree = tree();
    let paths: Vec<&str> = tree.iter().map(|(path, _)| path.as_str()).collect();
    assert_none(&check_migrations(&paths));
}

#[test]
fn every_dependency_has_its_reason() {
    let Some(architecture) = document("ARCHITECTURE.md") else {
        return;
    };
    let manifests = ["Cargo.toml", "jobs/Cargo.toml"].map(|path| document(path).unwrap());
    assert_none(&check_reasons(&manifests.join("\n"), &architecture));
}

#[test]
fn both_readmes_give_the_same_commands() {
    let readmes = (document("README.md"), document("README.zh-CN.md"));
    if let (Some(english), Some(chinese)) = readmes {
        assert_none(&check_readmes(&english, &chinese));
    }
}

#[test]
fn contract_alone_is_light() {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let output = Command::new(cargo)
        .args(["tree", "--package", "clearday-jobs", "--edges", "normal"])
        .args(["--prefix", "none", "--offline", "--locked"])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let packages = String::from_utf8(output.stdout).unwrap();
    assert!(packages.starts_with("clearday-jobs "), "{packages}");
    assert_none(&check_contract(&packages));
}

fn assert_none(findings: &[String]) {
    assert!(findings.is_empty(), "{}", findings.join("\n"));
}

// --- rules about one file -------------------------------------------------------------------

fn check_file(path: &str, text: &str) -> Vec<String> {
    let mut findings = check_words(path, text);
    if has_extension(path, "rs") {
        findings.extend(check_opening(path, text));
        findings.extend(check_homes(path, text));
        if path.starts_with("src/domain/") {
            findings.extend(check_purity(path, text));
        }
    }
    findings
}

fn check_words(path: &str, text: &str) -> Vec<String> {
    let mut findings = Vec::new();
    for (line, number) in text.lines().zip(1..) {
        for machine_path in MACHINE_PATHS {
            if contains_word(line, machine_path) {
                findings.push(format!(
                    "{path}:{number}: `{machine_path}` is a path of one machine"
                ));
            }
        }
        for word in UNFINISHED {
            if contains_word(line, word) {
                findings.push(format!("{path}:{number}: `{word}`: do it or file an issue"));
            }
        }
    }
    findings
}

/// True where `word` stands and is not the middle of a longer word or path.
fn contains_word(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        let (before, after) = (line.split_at(at).0, line.split_at(at + word.len()).1);
        let ends_in_path = word.ends_with('/');
        !before.ends_with(is_word) && (ends_in_path || !after.starts_with(is_word))
    })
}

fn check_opening(path: &str, text: &str) -> Option<String> {
    let opens = text.starts_with("//! ");
    (!opens).then(|| format!("{path}:1: does not open with `//!`, saying what the file is for"))
}

fn check_homes(path: &str, text: &str) -> Vec<String> {
    if !path.starts_with("src/") && !path.starts_with("jobs/src/") {
        return Vec::new();
    }
    let words = words(text);
    let mut findings = Vec::new();
    for (name, homes) in HOMES {
        if !homes.iter().any(|home| path.starts_with(home)) {
            findings.extend(crate_uses(&words, name).map(|line| {
                format!(
                    "{path}:{line}: names `{name}`, which only {} may",
                    homes.join(", ")
                )
            }));
        }
    }
    findings
}

fn check_purity(path: &str, text: &str) -> Vec<String> {
    let words = words(text);
    let mut lines: Vec<(u32, String)> = Vec::new();
    for name in IMPURE_CRATES {
        lines.extend(crate_uses(&words, name).map(|line| (line, (*name).to_owned())));
    }
    for (at, word) in words.iter().enumerate() {
        let next = |offset: usize| words.get(at + offset).map_or("", |word| word.text);
        if IMPURE_WORDS.contains(&word.text) {
            lines.push((word.line, word.text.to_owned()));
        }
        if IMPURE_CLOCKS.contains(&word.text) && (next(1), next(2)) == ("::", "now") {
            lines.push((word.line, format!("{}::now", word.text)));
        }
        if (word.text, next(1)) == ("std", "::") {
            let named = named_below(&words, at + 2);
            let impure = named.filter(|module| IMPURE_STD.contains(&module.text));
            lines.extend(impure.map(|module| (module.line, format!("std::{}", module.text))));
        }
    }
    let finding = |(line, name)| format!("{path}:{line}: a decision is pure, without `{name}`");
    lines.into_iter().map(finding).collect()
}

/// The modules named right below a path: one, or those of a group in braces.
fn named_below<'a>(words: &'a [Word<'a>], start: usize) -> impl Iterator<Item = &'a Word<'a>> {
    let mut depth = 0;
    let mut is_first = true;
    words
        .iter()
        .skip(start)
        .map_while(move |word| {
            let is_named = is_first;
            is_first = false;
            match word.text {
                "{" => {
                    depth += 1;
                    is_first = depth == 1;
                }
                "}" => depth -= 1,
                "," => is_first = depth == 1,
                _ => {}
            }
            (is_named || depth > 0).then_some((is_named, word))
        })
        .filter_map(|(is_named, word)| is_named.then_some(word))
}

/// The lines on which a crate is named: in a path, an import or an attribute. A field, a variable
/// or a module that is called the same is not the crate.
fn crate_uses<'a>(words: &'a [Word<'a>], name: &'a str) -> impl Iterator<Item = u32> + 'a {
    words.iter().enumerate().filter_map(move |(at, word)| {
        let before = |offset: usize| at.checked_sub(offset).map_or("", |at| words[at].text);
        let after = words.get(at + 1).map_or("", |word| word.text);
        let is_in_path = before(1) == "::" && before(2).ends_with(is_word);
        let is_path = after == "::" && before(1) != "." && !is_in_path;
        let is_import = matches!(before(1), "use" | "crate") && before(1) != before(2);
        let is_attribute = (before(2), before(1)) == ("#", "[");
        (word.text == name && (is_path || is_import || is_attribute)).then_some(word.line)
    })
}

// --- rules about several files --------------------------------------------------------------

fn check_shelves(paths: &[&str]) -> Vec<String> {
    let has = |folder: &str, stem: &str| {
        let (file, module) = (
            format!("{folder}{stem}.rs"),
            format!("{folder}{stem}/mod.rs"),
        );
        paths.iter().any(|path| *path == file || *path == module)
    };
    let mut findings = Vec::new();
    for kind in JobKind::ALL {
        let stem = kind.as_str();
        for shelf in ["jobs/src/", "src/domain/", "tests/it/"] {
            if has("src/workers/", stem) && !has(shelf, stem) {
                findings.push(format!("{shelf}{stem}.rs is missing: src/workers/ has it"));
            }
        }
    }
    findings
}

fn check_migrations(paths: &[&str]) -> Vec<String> {
    let names = |folder: &str| -> BTreeSet<&str> {
        paths
            .iter()
            .filter_map(|path| path.strip_prefix(folder))
            .collect()
    };
    let (postgres, sqlite) = (names("migrations/postgres/"), names("migrations/sqlite/"));
    postgres
        .symmetric_difference(&sqlite)
        .map(|name| format!("migrations: {name} is there for one database only"))
        .collect()
}

fn check_reasons(manifests: &str, architecture: &str) -> Vec<String> {
    let reasons: BTreeSet<&str> = architecture
        .lines()
        .filter_map(|line| line.trim().strip_prefix('|')?.split('|').next())
        .map(|cell| cell.trim().trim_matches('`'))
        .collect();
    direct_dependencies(manifests)
        .into_iter()
        .filter(|name| !reasons.contains(name))
        .map(|name| format!("ARCHITECTURE.md: no line `| {name} | … |` says why it is used"))
        .collect()
}

/// Every dependency a manifest names, our own crates left out.
fn direct_dependencies(manifests: &str) -> BTreeSet<&str> {
    let mut names = BTreeSet::new();
    let mut lists_dependencies = false;
    for line in manifests.lines() {
        if let Some(section) = line.strip_prefix('[') {
            let section = section.split(']').next().unwrap_or_default();
            // What the workspace offers is only a version until somebody uses it.
            lists_dependencies =
                section.ends_with("dependencies") && section != "workspace.dependencies";
            if let Some((_, name)) = section.split_once("dependencies.") {
                names.insert(name);
            }
        } else if lists_dependencies && line.starts_with(is_word) && !line.contains("path = ") {
            let end = line.find(|c| !is_word(c) && c != '-').unwrap_or(line.len());
            names.insert(line.split_at(end).0);
        }
    }
    names
}

fn check_readmes(english: &str, chinese: &str) -> Vec<String> {
    let (english, chinese) = (commands(english), commands(chinese));
    let missing = |from: &[String], other: &[String], readme: &str| -> Vec<String> {
        let only_here = from.iter().filter(|command| !other.contains(command));
        only_here
            .map(|command| format!("{readme} does not have: {command}"))
            .collect()
    };
    let mut findings = missing(&english, &chinese, "README.zh-CN.md");
    findings.extend(missing(&chinese, &english, "README.md"));
    if findings.is_empty() && english != chinese {
        findings.push("README.md and README.zh-CN.md have commands in different order".to_owned());
    }
    findings
}

/// The lines of all code blocks. Comments may be translated, and so may pictures and output, which
/// stand in blocks marked `text` or not at all.
fn commands(readme: &str) -> Vec<String> {
    let mut commands = Vec::new();
    let mut language = None;
    for line in readme.lines().map(str::trim) {
        match (line.strip_prefix("```"), language) {
            (Some(opened), None) => language = Some(opened),
            (Some(_), Some(_)) => language = None,
            (None, Some("" | "text" | "mermaid") | None) => {}
            (None, Some(_)) => {
                let command = line.split(" # ").next().unwrap_or_default().trim();
                if !command.is_empty() && !command.starts_with('#') {
                    commands.push(command.to_owned());
                }
            }
        }
    }
    commands
}

fn check_contract(packages: &str) -> Vec<String> {
    packages
        .lines()
        .filter_map(|package| package.split_whitespace().next())
        .filter(|name| HEAVY_CRATES.contains(name))
        .map(|name| format!("clearday-jobs needs {name} without its `client` feature"))
        .collect()
}

// --- reading --------------------------------------------------------------------------------

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn document(path: &str) -> Option<String> {
    fs::read_to_string(root().join(path)).ok()
}

/// Every text file of the repository: its path from the root, and what it says.
fn tree() -> Vec<(String, String)> {
    let ignored = document(".gitignore").unwrap();
    let ignored: Vec<&str> = ignored
        .lines()
        .filter_map(|line| line.strip_suffix('/'))
        .collect();
    let mut files = Vec::new();
    let mut folders = vec![PathBuf::new()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(root().join(&folder)).unwrap() {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            let path = folder.join(&name);
            let kind = entry.file_type().unwrap();
            let is_ignored = name == ".git" || kind.is_dir() && ignored.contains(&name.as_str());
            if kind.is_dir() && !is_ignored {
                folders.push(path);
            } else if kind.is_file()
                && !is_ignored
                && let Ok(text) = String::from_utf8(fs::read(entry.path()).unwrap())
            {
                files.push((path.into_os_string().into_string().unwrap(), text));
            }
        }
    }
    let sees_itself = files.iter().any(|(path, _)| path == "tests/it/tidy.rs");
    assert!(sees_itself, "the repository is not where it was compiled");
    files
}

fn has_extension(path: &str, extension: &str) -> bool {
    Path::new(path)
        .extension()
        .is_some_and(|found| found == extension)
}

/// A word or a sign of Rust code, and the line it stands on.
#[derive(Debug)]
struct Word<'a> {
    text: &'a str,
    line: u32,
}

/// The words and signs of Rust code, without comments and without what stands in quotes.
fn words(code: &str) -> Vec<Word<'_>> {
    let mut words = Vec::new();
    let (mut rest, mut line) = (code, 1);
    while !rest.is_empty() {
        let (length, is_code) = next_length(rest);
        let (text, after) = rest.split_at(length);
        if is_code {
            words.push(Word { text, line });
        }
        line += u32::try_from(text.matches('\n').count()).unwrap();
        rest = after;
    }
    words
}

/// How many bytes the next word, sign, space, comment or literal takes, and whether it is code.
fn next_length(rest: &str) -> (usize, bool) {
    if rest.starts_with("//") {
        return (rest.find('\n').unwrap_or(rest.len()), false);
    }
    if rest.starts_with("/*") {
        return (block_comment_length(rest), false);
    }
    if let Some(length) = raw_string_length(rest) {
        return (length, false);
    }
    if rest.starts_with('"') {
        return (string_length(rest), false);
    }
    if rest.starts_with('\'') {
        return (character_length(rest), false);
    }
    if rest.starts_with("::") {
        return (2, true);
    }
    match rest.find(|c| !is_word(c)).unwrap_or(rest.len()) {
        0 => {
            let sign = rest.chars().next().unwrap_or(' ');
            (sign.len_utf8(), !sign.is_whitespace())
        }
        length => (length, true),
    }
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Block comments nest.
fn block_comment_length(rest: &str) -> usize {
    let mut depth = 0;
    let mut at = 0;
    while at < rest.len() {
        let here = rest.split_at(at).1;
        let step = here.chars().next().map_or(1, char::len_utf8);
        match here.get(..2) {
            Some("/*") => (depth, at) = (depth + 1, at + 2),
            Some("*/") => (depth, at) = (depth - 1, at + 2),
            _ => at += step,
        }
        if depth == 0 {
            break;
        }
    }
    at
}

fn raw_string_length(rest: &str) -> Option<usize> {
    let after_prefix = ["r", "br", "cr"]
        .iter()
        .find_map(|prefix| rest.strip_prefix(prefix))?;
    let body = after_prefix.trim_start_matches('#');
    let hashes = after_prefix.len() - body.len();
    let end = format!("\"{}", "#".repeat(hashes));
    let content = body.strip_prefix('"')?;
    let length = content
        .find(&end)
        .map_or(content.len(), |at| at + end.len());
    Some(rest.len() - content.len() + length)
}

fn string_length(rest: &str) -> usize {
    let mut is_escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        match c {
            _ if is_escaped => is_escaped = false,
            '\\' => is_escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    rest.len()
}

/// Of a character in quotes, or only of the quote that begins a lifetime.
fn character_length(rest: &str) -> usize {
    let mut chars = rest.char_indices().skip(1);
    match (chars.next(), chars.next()) {
        (Some((_, '\\')), Some((escaped, _))) => {
            let after = rest.split_at(escaped + 1).1;
            after
                .find('\'')
                .map_or(rest.len(), |at| escaped + 1 + at + 1)
        }
        (Some(_), Some((at, '\''))) => at + 1,
        _ => 1,
    }
}

// --- each rule fires ------------------------------------------------------------------------

/// A rule that fires says so in its finding; one that does not leaves none.
fn findings_of(path: &str, code: &str) -> String {
    check_file(path, &format!("//! Why.\n{code}\n")).join("\n")
}

#[test]
fn names_of_crates_away_from_home_are_found() {
    let bad = [
        ("src/engine/run.rs", "use sqlx::PgPool;", "sqlx"),
        ("src/engine/run.rs", "fn f(e: ::sqlx::Error) {}", "sqlx"),
        (
            "src/engine/run.rs",
            "#[sqlx(transparent)] struct Id;",
            "sqlx",
        ),
        (
            "src/domain/job.rs",
            "#[derive(sqlx::Type)] struct Id;",
            "sqlx",
        ),
        ("src/http/page.rs", "use redis as r;", "redis"),
        (
            "src/config.rs",
            "let client = redis::Client::open(url);",
            "redis",
        ),
        (
            "src/daemon.rs",
            "use apalis_core::backend::Backend;",
            "apalis_core",
        ),
        ("src/daemon.rs", "apalis::layers::x();", "apalis"),
        (
            "src/workers/order_expiry.rs",
            "reqwest::get(url)",
            "reqwest",
        ),
        ("src/http/mail.rs", "use lettre::Message;", "lettre"),
        ("jobs/src/kind.rs", "use redis::AsyncCommands;", "redis"),
        ("jobs/src/client.rs", "use reqwest::Client;", "reqwest"),
    ];
    for (path, code, name) in bad {
        let findings = findings_of(path, code);
        assert!(
            findings.contains(&format!("{path}:2: names `{name}`, which only")),
            "{path}: {code}: {findings}"
        );
    }
}

#[test]
fn names_of_crates_at_home_and_mere_words_are_fine() {
    let good = [
        ("src/store/jobs.rs", "use sqlx::PgPool;"),
        (
            "src/queue/redis.rs",
            "use apalis_core::backend::Backend; use redis::Client;",
        ),
        ("src/connectors/bank.rs", "reqwest::Client::builder()"),
        ("jobs/src/client.rs", "use redis::AsyncCommands;"),
        ("tests/it/support/servers.rs", "use sqlx::PgConnection;"),
        (
            "src/config.rs",
            "let url = settings.redis.url; struct S { redis: Option<R> }",
        ),
        (
            "src/daemon.rs",
            "use crate::queue::redis::Reader; queue::redis::read()",
        ),
        (
            "src/engine/run.rs",
            "// not sqlx::Error\n/* nor /* redis:: */ reqwest:: */",
        ),
        (
            "src/engine/run.rs",
            r##"let a = ("use sqlx::X", 'a', '"', r#"redis::"#, '\'');"##,
        ),
    ];
    for (path, code) in good {
        assert_eq!(findings_of(path, code), "", "{path}: {code}");
    }
}

#[test]
fn impure_decisions_are_found() {
    let bad = [
        ("use tokio::time::sleep;", "tokio"),
        ("async fn decide() {}", "async"),
        ("let answer = call().await;", "await"),
        ("use std::fs;", "std::fs"),
        (
            "use std::{collections::{BTreeMap, env}, fs::File};",
            "std::fs",
        ),
        ("let text = std::io::stdin();", "std::io"),
        ("let now = Utc::now();", "Utc::now"),
        ("let now = chrono::Utc::now();", "Utc::now"),
        ("let now = Instant::now();", "Instant::now"),
        ("use std::time::SystemTime;", "SystemTime"),
    ];
    for (code, name) in bad {
        let findings = findings_of("src/domain/order_expiry.rs", code);
        assert_eq!(
            findings,
            format!("src/domain/order_expiry.rs:2: a decision is pure, without `{name}`"),
            "{code}"
        );
    }
}

#[test]
fn pure_decisions_are_fine() {
    let good = "use std::{collections::BTreeMap, fmt}; // Utc::now() is the caller's
        /// Nothing here is `async`.
        fn decide<'a>(now: DateTime<Utc>, env: &'a str) -> Duration { now - env }";
    assert_eq!(findings_of("src/domain/order_expiry.rs", good), "");
    assert_eq!(
        findings_of("src/workers/order_expiry.rs", "async fn run() {}"),
        ""
    );
}

#[test]
fn file_without_its_story_is_found() {
    let silent = check_file("benches/speed.rs", "// fast\n//! Late.\nfn main() {}\n");
    assert!(
        silent.join("").contains("does not open with `//!`"),
        "{silent:?}"
    );
    assert_eq!(
        check_file("README.md", "# clearday\n"),
        Vec::<String>::new()
    );
}

#[test]
fn machine_paths_and_unfinished_work_are_found() {
    for word in MACHINE_PATHS.iter().chain(UNFINISHED) {
        let finding = check_file("docs/a.md", &format!("one\nsee {word}: x\n")).join("\n");
        assert!(finding.starts_with("docs/a.md:2: "), "{word}: {finding}");
        let longer = format!("https://example.com/a{word}b MA{word}S\n");
        assert_eq!(
            check_file("docs/a.md", &longer),
            Vec::<String>::new(),
            "{word}"
        );
    }
}

#[test]
fn job_missing_from_a_shelf_is_found() {
    let everywhere = [
        "src/workers/order_expiry/mod.rs",
        "jobs/src/order_expiry.rs",
        "src/domain/order_expiry.rs",
        "tests/it/order_expiry.rs",
        "jobs/src/settlement_run.rs",
    ];
    assert_none(&check_shelves(&everywhere));
    for missing in 1..4 {
        let mut paths = everywhere.to_vec();
        let path = paths.remove(missing);
        assert_eq!(
            check_shelves(&paths),
            [format!("{path} is missing: src/workers/ has it")]
        );
    }
}

#[test]
fn migration_for_one_database_is_found() {
    let paths = [
        "migrations/postgres/0001_a.sql",
        "migrations/sqlite/0001_a.sql",
    ];
    assert_none(&check_migrations(&paths));
    let paths = [
        paths[0],
        paths[1],
        "migrations/sqlite/0002_b.sql",
        "migrations/README.md",
    ];
    assert_eq!(
        check_migrations(&paths),
        ["migrations: 0002_b.sql is there for one database only"]
    );
}

#[test]
fn dependency_without_a_reason_is_found() {
    let manifest = r#"
[workspace.dependencies]
unused = "1"
[package]
name = "x"
[dependencies]
clearday-jobs = { path = "jobs" }
axum = { version = "1", features = [
    "json",
] }
# comment = "1"
serde.workspace = true
[dev-dependencies]
proptest = "1"
[target.'cfg(unix)'.dependencies]
tokio-util = "1"
[dependencies.long]
version = "1"
"#;
    assert_eq!(
        direct_dependencies(manifest)
            .into_iter()
            .collect::<Vec<_>>(),
        ["axum", "long", "proptest", "serde", "tokio-util"]
    );
    let table = "| crate | why |\n|---|---|\n| axum | x |\n| `serde` | y |\n| long | z |";
    assert_eq!(
        check_reasons(manifest, &format!("{table}\n| proptest | tokio-util |")),
        ["ARCHITECTURE.md: no line `| tokio-util | … |` says why it is used"]
    );
}

#[test]
fn readmes_that_differ_are_found() {
    let english =
        "Run:\n```sh\ncargo run -- demo # once\n# twice\nscripts/test\n```\n```text\nout\n```";
    let chinese = "运行：\n```sh\ncargo run -- demo # 一次\nscripts/test\n```\n```\n输出\n```";
    assert_none(&check_readmes(english, chinese));
    let other = chinese.replace("scripts/test", "scripts/tests");
    assert_eq!(
        check_readmes(english, &other),
        [
            "README.zh-CN.md does not have: scripts/test",
            "README.md does not have: scripts/tests"
        ]
    );
    let turned = "```sh\nscripts/test\ncargo run -- demo\n```";
    assert!(check_readmes(english, turned)[0].contains("different order"));
}

#[test]
fn heavy_contract_is_found() {
    let packages = "clearday-jobs v0.1.0\nserde v1.0.1 (*)\ntokio v1.5.0\n";
    assert_eq!(
        check_contract(packages),
        ["clearday-jobs needs tokio without its `client` feature"]
    );
}
