//! Failpoints: each one that is listed is in the code once, and none of them in a release.

use toml::{Table, Value};

use crate::points::{LIST, listed};
use crate::tree::{Complaint, Tree};

/// The feature that compiles them in.
const FEATURE: &str = "failpoints";

/// Points that are listed and not hit in exactly one place.
pub fn hit_once(tree: &Tree) -> Vec<Complaint> {
    let Some(list) = tree.texts.get(LIST) else {
        return vec![Complaint::about(LIST, "is missing")];
    };
    let points = listed(list);
    if points.is_empty() {
        return vec![Complaint::about(LIST, "lists no point")];
    }
    let complain = |point: &crate::points::Listed| {
        let places = places(tree, &point.variant);
        let text = match places {
            0 => format!("{} is hit nowhere", point.name),
            1 => return None,
            many => format!("{} is hit in {many} places", point.name),
        };
        Some(Complaint::at(LIST, point.line, text))
    };
    points.iter().filter_map(complain).collect()
}

/// How often the product names a variant outside of tests and the list itself.
fn places(tree: &Tree, variant: &str) -> usize {
    let folder = LIST.trim_end_matches(".rs");
    let product = tree
        .sources
        .iter()
        .filter(|(path, _)| path.starts_with("crates/") && !path.starts_with(folder));
    product
        .map(|(_, source)| {
            let places = source.find(&format!("Point::{variant}")).into_iter();
            places
                .filter(|at| !source.is_test(source.line_of(*at)))
                .count()
        })
        .sum()
}

/// Manifests that switch the points on for everybody.
pub fn off_by_default(tree: &Tree) -> Vec<Complaint> {
    let manifests = tree
        .texts
        .iter()
        .filter(|(path, _)| path.ends_with("Cargo.toml"));
    let on = manifests.filter(|(_, text)| {
        text.parse::<Table>()
            .is_ok_and(|manifest| switches_on(&Value::Table(manifest), ""))
    });
    on.map(|(path, _)| {
        Complaint::about(
            path,
            "switches failpoints on; only the crash matrix builds them",
        )
    })
    .collect()
}

/// Whether a list called `default`, or the features of a dependency, name the feature.
fn switches_on(value: &Value, key: &str) -> bool {
    match value {
        Value::Table(table) => table.iter().any(|(key, value)| switches_on(value, key)),
        Value::Array(names) => {
            matches!(key, "default" | "features")
                && names.iter().filter_map(Value::as_str).any(names_feature)
        }
        _ => false,
    }
}

fn names_feature(name: &str) -> bool {
    name.rsplit('/').next() == Some(FEATURE)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LISTED: &str =
        "points! {\n    One \"shim.one\" \"So.\",\n    Two \"shim.two\" \"So.\",\n}\n";

    fn found(code: &str) -> Vec<String> {
        let tree = Tree::of(&[(LIST, LISTED), ("crates/a/src/lib.rs", code)]);
        let complaints = hit_once(&tree);
        complaints.into_iter().map(|it| it.text).collect()
    }

    #[test]
    fn each_point_has_its_place() {
        assert_eq!(
            found("fn f() { hit(Point::One); hit(Point::Two); }"),
            [""; 0]
        );
        assert_eq!(
            found("fn f() { hit(Point::One); }\nfn g() { hit(Point::One); hit(Point::TwoMore); }"),
            ["shim.one is hit in 2 places", "shim.two is hit nowhere"]
        );
        assert_eq!(
            found("// Point::One\n#[cfg(test)]\nmod tests { fn f() { Point::Two } }"),
            ["shim.one is hit nowhere", "shim.two is hit nowhere"]
        );
    }

    #[test]
    fn a_manifest_that_switches_them_on_is_named() {
        for (manifest, count) in [
            ("[features]\nfailpoints = [\"orch-host/failpoints\"]", 0),
            ("[features]\ndefault = [\"failpoints\"]", 1),
            ("[features]\ndefault = [\"orch-host/failpoints\"]", 1),
            (
                "[dependencies]\na = { workspace = true, features = [\"failpoints\"] }",
                1,
            ),
        ] {
            let tree = Tree::of(&[("crates/a/Cargo.toml", manifest)]);
            assert_eq!(off_by_default(&tree).len(), count, "{manifest}");
        }
    }
}
