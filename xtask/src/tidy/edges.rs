//! Which crate may depend on which. The table is `docs/architecture.md` in data.

use toml::{Table, Value};

use crate::tree::{Complaint, Tree};

/// Every crate of the house and the crates of the house it may use.
const EDGES: &[(&str, &[&str])] = &[
    ("orch-core", &[]),
    ("orch-api", &[]),
    ("orch-store", &["orch-core"]),
    ("orch-host", &["orch-core"]),
    (
        "orch-daemon",
        &["orch-core", "orch-store", "orch-host", "orch-api"],
    ),
    ("orch", &["orch-api", "orch-daemon", "orch-host"]),
    ("orch-field", &["orch-api"]),
    ("orch-fuzz", &["orch-core", "orch-host"]),
    ("orch-model", &[]),
    ("orch-preload", &[]),
    ("orch-sim", &["orch-core", "orch-store"]),
    (
        "xtask",
        &[
            "orch-api",
            "orch-core",
            "orch-field",
            "orch-model",
            "orch-sim",
            "orch-store",
        ],
    ),
];

/// What only the tests of a crate may use.
const TEST_EDGES: &[(&str, &[&str])] = &[("orch", &["orch-field", "orch-preload"])];

/// Libraries that carry a meaning, and the only crates that may use them.
const LIBRARIES: &[(&str, &[&str])] = &[
    ("anyhow", &["orch", "xtask"]),
    ("axum", &["orch-daemon"]),
    ("clap", &["orch", "xtask"]),
    ("getrandom", &["orch-daemon"]),
    ("hyper", &["orch-api", "orch-daemon"]),
    ("notify", &["orch-host", "orch-daemon"]),
    // The oracle reads the tables with eyes of its own.
    ("rusqlite", &["orch-store", "orch-field"]),
    ("tokio", &["orch-api", "orch-daemon", "orch"]),
];

/// All that core may use: it must build anywhere and know nothing.
const CORE_LIBRARIES: &[&str] = &["thiserror", "proptest"];

/// Most packages that `Cargo.lock` may list. Every package is code that runs with a user's keys
/// and minutes that a newcomer waits. There were 143 when the first eight crates stood; raise the
/// number in the commit that adds a dependency, and say there why it is worth it.
const MAX_PACKAGES: usize = 150;

/// Manifests that are not those of a crate of the house, or break an edge.
pub fn crates(tree: &Tree) -> Vec<Complaint> {
    let mut complaints = Vec::new();
    for (path, manifest) in manifests(tree, &mut complaints) {
        let name = package_name(&manifest);
        let Some((_, allowed)) = EDGES.iter().find(|(known, _)| *known == name) else {
            let text =
                format!("'{name}' is not in the table of edges; add it there and to the docs");
            complaints.push(Complaint::about(path, text));
            continue;
        };
        // A workspace of its own shares no settings with this one.
        let is_apart = manifest.contains_key("workspace");
        if !is_apart
            && manifest
                .get("lints")
                .and_then(|lints| lints.get("workspace"))
                != Some(&Value::Boolean(true))
        {
            complaints.push(Complaint::about(
                path,
                "[lints] workspace = true is missing",
            ));
        }
        for (kind, dependency, value) in dependencies(&manifest) {
            let internal = EDGES.iter().any(|(known, _)| *known == dependency);
            let drawn = allowed.contains(&dependency.as_str())
                || (kind == "dev-dependencies" && tests_may_use(&name, &dependency));
            if internal && !drawn {
                let text = format!(
                    "{name} must not know {dependency}; it may use: {}",
                    list(allowed)
                );
                complaints.push(Complaint::about(path, text));
            }
            if !is_apart && value.get("workspace") != Some(&Value::Boolean(true)) {
                let text = format!("{dependency}: versions belong into the workspace's Cargo.toml");
                complaints.push(Complaint::about(path, text));
            }
        }
    }
    complaints
}

fn tests_may_use(name: &str, dependency: &str) -> bool {
    let edges = TEST_EDGES.iter().filter(|(known, _)| *known == name);
    edges
        .flat_map(|(_, used)| *used)
        .any(|used| *used == dependency)
}

/// Libraries in a crate that they do not belong into.
pub fn libraries(tree: &Tree) -> Vec<Complaint> {
    let mut complaints = Vec::new();
    for (path, manifest) in manifests(tree, &mut Vec::new()) {
        let name = package_name(&manifest);
        for (_, dependency, _) in dependencies(&manifest) {
            let rule = LIBRARIES.iter().find(|(library, _)| *library == dependency);
            if let Some((_, users)) = rule
                && !users.contains(&name.as_str())
            {
                let text = format!("{dependency} may be used by {} only", list(users));
                complaints.push(Complaint::about(path, text));
            }
            if name == "orch-core" && !CORE_LIBRARIES.contains(&dependency.as_str()) {
                let text = format!(
                    "core may use {} only, not {dependency}",
                    list(CORE_LIBRARIES)
                );
                complaints.push(Complaint::about(path, text));
            }
        }
    }
    complaints
}

/// More packages than the house has decided to carry.
pub fn package_count(tree: &Tree) -> Vec<Complaint> {
    let Some(lock) = tree.texts.get("Cargo.lock") else {
        return vec![Complaint::about(
            "Cargo.lock",
            "is missing; builds must be repeatable",
        )];
    };
    let packages = lock.lines().filter(|line| *line == "[[package]]").count();
    if packages <= MAX_PACKAGES {
        return Vec::new();
    }
    let text = format!("lists {packages} packages; at most {MAX_PACKAGES} are agreed on");
    vec![Complaint::about("Cargo.lock", text)]
}

fn manifests<'a>(tree: &'a Tree, complaints: &mut Vec<Complaint>) -> Vec<(&'a str, Table)> {
    let mut manifests = Vec::new();
    for (path, text) in &tree.texts {
        if !path.ends_with("/Cargo.toml") {
            continue;
        }
        match text.parse::<Table>() {
            Ok(manifest) => manifests.push((path.as_str(), manifest)),
            Err(error) => complaints.push(Complaint::about(path, error.to_string())),
        }
    }
    manifests
}

fn package_name(manifest: &Table) -> String {
    let name = manifest
        .get("package")
        .and_then(|package| package.get("name"));
    name.and_then(Value::as_str).unwrap_or_default().to_owned()
}

/// Every dependency with its kind, those of single targets included.
fn dependencies(manifest: &Table) -> Vec<(&'static str, String, Value)> {
    let mut found = Vec::new();
    let targets = manifest.get("target").and_then(Value::as_table);
    let targets = targets
        .into_iter()
        .flat_map(Table::values)
        .filter_map(Value::as_table);
    for table in std::iter::once(manifest).chain(targets) {
        for kind in ["dependencies", "dev-dependencies", "build-dependencies"] {
            let entries = table.get(kind).and_then(Value::as_table);
            for (name, value) in entries.into_iter().flatten() {
                let package = value.get("package").and_then(Value::as_str).unwrap_or(name);
                found.push((kind, package.to_owned(), value.clone()));
            }
        }
    }
    found
}

fn list(names: &[&str]) -> String {
    match names {
        [] => "none".to_owned(),
        names => names.join(", "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(name: &str, rest: &str) -> String {
        format!("[package]\nname = \"{name}\"\n[lints]\nworkspace = true\n{rest}\n")
    }

    fn texts(complaints: Vec<Complaint>) -> Vec<String> {
        complaints
            .into_iter()
            .map(|complaint| complaint.text)
            .collect()
    }

    #[test]
    fn what_only_tests_may_use_is_no_part_of_the_product() {
        let complaints_of = |kind: &str| {
            let text = manifest("orch", &format!("[{kind}]\norch-field.workspace = true"));
            texts(crates(&Tree::of(&[("crates/orch/Cargo.toml", &text)])))
        };
        assert_eq!(complaints_of("dev-dependencies"), Vec::<String>::new());
        assert_eq!(complaints_of("dependencies").len(), 1);
    }

    #[test]
    fn an_edge_that_is_not_drawn_is_refused() {
        let bad = manifest(
            "orch-core",
            "[dev-dependencies]\norch-store.workspace = true",
        );
        let good = manifest("orch-store", "[dependencies]\norch-core.workspace = true");
        let tree = Tree::of(&[
            ("crates/core/Cargo.toml", &bad),
            ("crates/store/Cargo.toml", &good),
        ]);
        assert_eq!(
            texts(crates(&tree)),
            ["orch-core must not know orch-store; it may use: none"]
        );
    }

    #[test]
    fn edges_of_one_target_and_renamed_ones_count() {
        let renamed = "[target.'cfg(unix)'.dependencies]\nx = { package = \"orch-daemon\", workspace = true }";
        let tree = Tree::of(&[("crates/a/Cargo.toml", &manifest("orch-api", renamed))]);
        assert_eq!(
            texts(crates(&tree)),
            ["orch-api must not know orch-daemon; it may use: none"]
        );
    }

    #[test]
    fn a_stranger_a_version_and_missing_lints_are_named() {
        let tree = Tree::of(&[
            ("crates/a/Cargo.toml", &manifest("orch-new", "")),
            (
                "crates/b/Cargo.toml",
                &manifest("orch-api", "[dependencies]\nserde = \"1\""),
            ),
            ("crates/c/Cargo.toml", "[package]\nname = \"orch\"\n"),
        ]);
        let found = texts(crates(&tree));
        assert_eq!(found.len(), 3, "{found:?}");
        assert!(
            found[0].contains("orch-new")
                && found[1].contains("serde")
                && found[2].contains("lints")
        );
    }

    #[test]
    fn libraries_stay_where_they_belong() {
        let tree = Tree::of(&[
            (
                "crates/a/Cargo.toml",
                &manifest("orch-host", "[dependencies]\nrusqlite.workspace = true"),
            ),
            (
                "crates/b/Cargo.toml",
                &manifest("orch-core", "[dependencies]\nserde.workspace = true"),
            ),
        ]);
        assert_eq!(
            texts(libraries(&tree)),
            [
                "rusqlite may be used by orch-store, orch-field only",
                "core may use thiserror, proptest only, not serde"
            ]
        );
    }

    #[test]
    fn the_lock_file_is_counted() {
        let many = "[[package]]\n".repeat(MAX_PACKAGES + 1);
        assert_eq!(package_count(&Tree::of(&[("Cargo.lock", &many)])).len(), 1);
        assert_eq!(
            package_count(&Tree::of(&[("Cargo.lock", "[[package]]\n")])).len(),
            0
        );
        assert_eq!(package_count(&Tree::of(&[])).len(), 1);
    }
}
