//! The shape of the crate: a small root, arrows that point down only, files that say what they are.
//!
//! Method: the sources are read as text. The scan leaves out comments and what is compiled for tests alone,
//! follows `crate::` paths, groups and `super` chains to the top-level module that they name, and looks
//! that arrow up in a table. The last tests show the scan what it must not let pass.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Who may use whom. `foundation` stands for the files that everything stands on.
const FOUNDATION: [&str; 9] =
    ["aggregate", "clock", "codec", "cow", "error", "intern", "limits", "metadata", "scope"];
const ARROWS: [(&str, &[&str]); 6] = [
    ("domain", &["aggregate", "scope", "cow", "clock", "error", "limits"]),
    ("engine", &["log", "aggregate", "scope", "clock", "error", "limits", "metadata", "sync"]),
    ("log", &["sync", "clock", "codec", "error", "limits", "metadata"]),
    ("intern", &["sync"]),
    ("sync", &[]),
    // What tests an aggregate does what an engine does, without one.
    ("testing", &["aggregate", "scope", "clock", "error", "limits", "log"]),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

/// Every source file, by its path below `src`.
fn sources() -> BTreeMap<PathBuf, String> {
    fn collect(folder: &Path, base: &Path, into: &mut BTreeMap<PathBuf, String>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                collect(&path, base, into);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                into.insert(path.strip_prefix(base).unwrap().to_owned(), text);
            }
        }
    }
    let (base, mut found) = (root().join("src"), BTreeMap::new());
    collect(&base, &base, &mut found);
    found
}

/// The module path of a file: `log/queue.rs` is `log`, `queue`; `log/mod.rs` is `log`.
fn module_of(file: &Path) -> Vec<String> {
    let mut path: Vec<String> =
        file.with_extension("").iter().map(|part| part.to_string_lossy().into_owned()).collect();
    if path.last().is_some_and(|last| last == "mod" || last == "lib") {
        path.pop();
    }
    path
}

fn indent(line: &str) -> usize {
    line.len() - line.trim_start().len()
}

/// The lines that are compiled into the library, without comments; and the modules that only tests have.
fn compiled(text: &str) -> (Vec<&str>, Vec<String>) {
    let (mut kept, mut test_modules) = (Vec::new(), Vec::new());
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        let code = line.trim_start();
        if code.starts_with("//") {
            continue;
        }
        let for_tests =
            ["#[cfg(test)]", "#[cfg(all(test", "#[cfg(doctest)]"].iter().any(|it| code.starts_with(it));
        if !for_tests {
            kept.push(line.split(" // ").next().unwrap_or(line));
            continue;
        }
        // The item that the attribute belongs to, however long.
        let Some(item) = lines.find(|item| !item.trim_start().starts_with("#[")) else { break };
        if let Some((_, name)) = item.trim().trim_end_matches(';').rsplit_once("mod ")
            && item.ends_with(';')
        {
            test_modules.push(name.to_owned());
        }
        if !item.ends_with(';') && !item.ends_with(',') && !item.ends_with('}') {
            let end = |line: &&str| indent(line) == indent(item) && line.trim_start().starts_with('}');
            lines.find(end);
        }
    }
    (kept, test_modules)
}

fn name_at(text: &str) -> &str {
    let end = text.find(|letter: char| !letter.is_alphanumeric() && letter != '_').unwrap_or(text.len());
    &text[..end]
}

/// The names that directly follow a path's `::`: one, or those of a group.
fn names_after(text: &str) -> Vec<String> {
    let Some(group) = text.strip_prefix('{') else { return vec![name_at(text).to_owned()] };
    let (mut names, mut depth, mut fresh) = (Vec::new(), 0, true);
    for (at, letter) in group.char_indices() {
        match letter {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => fresh = true,
            _ if fresh && depth == 0 && !letter.is_whitespace() => {
                names.push(name_at(&group[at..]).to_owned());
                fresh = false;
            }
            _ => {}
        }
    }
    names
}

/// The names at the crate's root that this file reaches for.
fn reaches(module: &[String], text: &str) -> BTreeSet<String> {
    let (lines, _) = compiled(text);
    let mut found = BTreeSet::new();
    // Modules written inside the file, by the indentation at which they end.
    let mut inside: Vec<usize> = Vec::new();
    for (number, line) in lines.iter().enumerate() {
        let code = line.trim();
        if inside.last().is_some_and(|end| code == "}" && indent(line) == *end) {
            inside.pop();
        }
        for (at, _) in line.match_indices("crate::") {
            let before = line[..at].chars().next_back();
            if before.is_some_and(|letter| letter.is_alphanumeric() || letter == '_') {
                continue;
            }
            // A group may go on over the next lines.
            let rest = lines[number..].join("\n");
            found.extend(names_after(&rest[at + "crate::".len()..]));
        }
        let chains = line.match_indices("super::").filter(|(at, _)| !line[..*at].ends_with("super::"));
        for (at, _) in chains {
            let joined = lines[number..].join("\n");
            let mut rest = &joined[at..];
            let mut climbed = 0;
            while let Some(after) = rest.strip_prefix("super::") {
                (rest, climbed) = (after, climbed + 1);
            }
            if climbed == module.len() + inside.len() {
                found.extend(names_after(rest));
            }
        }
        if code.ends_with('{') && (code.starts_with("mod ") || code.contains(" mod ")) {
            inside.push(indent(line));
        }
    }
    found
}

/// What is public at the root, and which module it comes from.
fn root_names(lib: &str) -> BTreeMap<String, String> {
    let (lines, _) = compiled(lib);
    let mut names = BTreeMap::new();
    for (number, line) in lines.iter().enumerate() {
        if let Some(module) = line.strip_prefix("pub mod ") {
            names.insert(name_at(module).to_owned(), name_at(module).to_owned());
        }
        if line.starts_with("pub use ") {
            let joined = lines[number..].join("\n");
            let (path, rest) = joined["pub use ".len()..].split_once("::").unwrap();
            for name in names_after(rest) {
                names.insert(name, path.to_owned());
            }
        }
    }
    names
}

/// Every arrow of a file that the table does not have.
fn forbidden(module: &[String], text: &str, root: &BTreeMap<String, String>) -> Vec<String> {
    let Some(from) = module.first() else { return Vec::new() };
    let allowed: &[&str] = match ARROWS.iter().find(|(name, _)| name == from) {
        Some((_, allowed)) => allowed,
        None if FOUNDATION.contains(&from.as_str()) => &FOUNDATION,
        None => return vec![format!("{from} is in no row of the table")],
    };
    let modules: BTreeSet<&str> = ARROWS.iter().map(|(name, _)| *name).chain(FOUNDATION).collect();
    let mut arrows = Vec::new();
    for name in reaches(module, text) {
        let to = if modules.contains(name.as_str()) { Some(&name) } else { root.get(&name) };
        match to {
            Some(to) if to == from || allowed.contains(&to.as_str()) => {}
            to => {
                arrows.push(format!("{} -> {} ({name})", module.join("::"), to.map_or("?", String::as_str)))
            }
        }
    }
    arrows
}

/// Files that only tests have.
fn test_files(sources: &BTreeMap<PathBuf, String>) -> BTreeSet<PathBuf> {
    let mut files = BTreeSet::new();
    for (file, text) in sources {
        let folder: PathBuf = module_of(file).iter().collect();
        for module in compiled(text).1 {
            files.insert(folder.join(&module).with_extension("rs"));
            files.insert(folder.join(&module).join("mod.rs"));
        }
    }
    files
}

#[test]
fn arrows_point_down_only() {
    let sources = sources();
    let root = root_names(&sources[Path::new("lib.rs")]);
    let tests = test_files(&sources);
    let of_library = sources.iter().filter(|(file, _)| {
        !tests.contains(*file) && !tests.iter().any(|test| file.starts_with(test.with_extension("")))
    });
    let arrows: Vec<String> =
        of_library.flat_map(|(file, text)| forbidden(&module_of(file), text, &root)).collect();
    assert!(arrows.is_empty(), "arrows that point up:\n{}", arrows.join("\n"));
}

#[test]
fn the_root_has_at_most_25_names() {
    let names = root_names(&sources()[Path::new("lib.rs")]);
    assert!(names.contains_key("Engine") && names.contains_key("venue") && names.contains_key("error"));
    assert!(names.len() <= 25, "{} names: {:?}", names.len(), names.keys());
}

#[test]
fn every_file_says_what_it_is() {
    for (file, text) in sources() {
        let first = text.lines().next().unwrap_or_default();
        assert!(first.len() > "//! ".len() && first.starts_with("//! "), "{}: {first}", file.display());
    }
}

#[test]
fn no_file_is_longer_than_500_lines() {
    let long: Vec<_> = sources()
        .into_iter()
        .map(|(file, text)| (file, text.lines().count()))
        .filter(|(_, lines)| *lines > 500)
        .collect();
    assert!(long.is_empty(), "{long:?}");
}

#[test]
fn unsafe_is_forbidden_and_nobody_allows_it() {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let lints = manifest.split("\n[").find(|section| section.starts_with("lints.rust]")).unwrap();
    let forbidden = lints.lines().any(|line| line.replace(' ', "") == "unsafe_code=\"forbid\"");
    assert!(forbidden, "unsafe_code is not forbidden: {lints}");
    for (file, text) in sources() {
        for line in compiled(&text).0 {
            let word = line.split(|letter: char| !letter.is_alphanumeric() && letter != '_');
            assert!(!word.clone().any(|word| word == "unsafe"), "{}: {line}", file.display());
            assert!(!line.contains("allow(unsafe_code"), "{}: {line}", file.display());
        }
    }
}

/// What the scan is for.
#[test]
fn the_scan_notices_arrows_that_point_up() {
    let root = root_names(
        "pub mod error;\npub use engine::{Engine, Handle};\npub use domain::{\n    layout,\n    venue,\n};\n",
    );
    assert_eq!(root["layout"], "domain");
    let module = |path: &str| path.split("::").map(str::to_owned).collect::<Vec<_>>();
    let up = [
        ("log::queue", "use crate::engine::Options;"),
        ("log::queue", "use crate::Engine;"),
        ("log::queue", "use crate::{clock::Clock, engine};"),
        ("log::queue", "use crate::{\n    error::{Error, Cause},\n    engine::Options,\n};"),
        ("log::queue", "fn f() -> crate::aggregate::Events<u8> { g() }"),
        ("log::queue", "use super::super::engine::Options;"),
        ("log", "use super::engine::Options;"),
        ("log", "mod imp {\n    use super::super::engine;\n}\nuse super::domain;"),
        ("sync", "use crate::error::Error;"),
        ("scope", "use crate::venue::Venue;"),
        ("domain::venue", "use crate::sync::Mutex;"),
        ("domain::venue", "use crate::log::Log;"),
        ("engine", "use crate::domain::venue;"),
        ("engine", "use crate::layout::Layout;"),
        ("engine", "use crate::nowhere::Thing;"),
        ("extras", ""),
    ];
    for (path, text) in up {
        assert!(!forbidden(&module(path), text, &root).is_empty(), "{path}: {text}");
    }
    let down = [
        ("log::queue", "use crate::clock::Clock;\nuse super::engine_like;\nuse crate::sync::{Mutex, Wakes};"),
        ("log::queue", "// use crate::engine::Options;\n/// [`Engine`](crate::Engine)\nfn f() {}"),
        ("log::queue", "fn f() {}\n\n#[cfg(test)]\nmod tests {\n    use crate::engine::Options;\n}\n"),
        ("log::queue", "#[cfg(all(test, shuttle))]\nuse crate::engine::Options;\nuse crate::error::Error;"),
        ("sync", "mod imp {\n    use super::Mutex;\n    use super::super::sync::Timer;\n}"),
        ("domain::venue", "use crate::layout::Layout;\nuse crate::cow::CowArray;"),
        ("engine", "use crate::log::Log;\nuse crate::Handle;"),
        ("aggregate", "use crate::scope::Scope;\nuse mycrate::engine;"),
    ];
    for (path, text) in down {
        let found = forbidden(&module(path), text, &root);
        assert!(found.is_empty(), "{path}: {found:?}");
    }
    assert_eq!(compiled("#[cfg(test)]\nmod tests;\nfn f() {}").1, ["tests"]);
}
