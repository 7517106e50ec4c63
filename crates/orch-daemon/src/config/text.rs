//! Changes to the text of a TOML file that leave everything else as it was, comments included.
//!
//! Must not know which keys there are. The result need not be right; the caller checks it.

use toml_edit::{DocumentMut, InlineTable, Item, Key, Table, TableLike, Value};

use super::error::ConfigError;
use super::read::syntax;

/// A key and its new value; `None` takes the key away.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) key: &'static str,
    pub(super) value: Option<Value>,
}

/// Whether there is a table of this path.
pub(super) fn has_table(source: &str, path: &[&str]) -> Result<bool, ConfigError> {
    let document = parse(source)?;
    let found = path.iter().try_fold(document.as_item(), |item, name| {
        item.as_table_like()?.get(name)
    });
    Ok(found.is_some())
}

/// The keys of a table of the file.
pub(super) fn keys(source: &str, table: &str) -> Result<Vec<String>, ConfigError> {
    let document = parse(source)?;
    let table = document.get(table).and_then(Item::as_table_like);
    Ok(table.map_or_else(Vec::new, |table| {
        table.iter().map(|(key, _)| key.to_owned()).collect()
    }))
}

/// Sets and removes keys of the table of this path, which is made if it is missing.
pub(super) fn assign(
    source: &str,
    path: &[&str],
    entries: &[Entry],
) -> Result<String, ConfigError> {
    let mut document = parse(source)?;
    let Some(table) = table_at(document.as_item_mut(), path) else {
        let kept: Vec<Entry> = entries
            .iter()
            .filter(|e| e.value.is_some())
            .cloned()
            .collect();
        return match kept.as_slice() {
            [] => Ok(source.to_owned()),
            kept => add_table(source, path, kept),
        };
    };
    for entry in entries {
        put(table, entry.key, entry.value.clone());
    }
    Ok(in_newlines_of(source, document.to_string()))
}

/// Sets or removes an entry of the table that is the value of `key` in the table of this path.
pub(super) fn assign_nested(
    source: &str,
    path: &[&str],
    key: &'static str,
    entry: &str,
    value: Option<Value>,
) -> Result<String, ConfigError> {
    let mut document = parse(source)?;
    let inner: Vec<&str> = path.iter().copied().chain([key]).collect();
    if let Some(table) = table_at(document.as_item_mut(), &inner) {
        put(table, entry, value);
        return Ok(in_newlines_of(source, document.to_string()));
    }
    let Some(value) = value else {
        return Ok(source.to_owned());
    };
    let table: InlineTable = [(entry, value)].into_iter().collect();
    let value = Some(Value::InlineTable(table));
    assign(source, path, &[Entry { key, value }])
}

/// Adds a table at the end of the file; as text, so that nothing of the rest can change. Only
/// inside a table that is written in braces there is no other place than there.
pub(super) fn add_table(
    source: &str,
    path: &[&str],
    entries: &[Entry],
) -> Result<String, ConfigError> {
    if let Some(result) = add_in_braces(source, path, entries)? {
        return Ok(result);
    }
    let header: Vec<String> = path
        .iter()
        .map(|name| Key::new(*name).display_repr().into_owned())
        .collect();
    let mut table = Table::new();
    for entry in entries {
        put(&mut table, entry.key, entry.value.clone());
    }
    let gap = match source {
        "" => "",
        text if text.ends_with("\n\n") || text.ends_with("\n\r\n") => "",
        text if text.ends_with('\n') => "\n",
        _ => "\n\n",
    };
    let addition = format!("{gap}[{}]\n{table}", header.join("."));
    Ok(source.to_owned() + &in_newlines_of(source, addition))
}

/// The text `into` with the table `parent.name` of `from` at its end, if only `from` has one.
pub(super) fn copy_table(
    from: &str,
    into: &str,
    parent: &str,
    name: &str,
) -> Result<String, ConfigError> {
    let mut from = parse(from)?;
    let found = item_at(from.as_item_mut(), &[parent, name]).map(|item| item.clone());
    let Some(found) = found.and_then(|item| item.into_table().ok()) else {
        return Ok(into.to_owned());
    };
    if has_table(into, &[parent, name])? {
        return Ok(into.to_owned());
    }
    let mut alone = DocumentMut::new();
    let mut outer = Table::new();
    outer.set_implicit(true);
    let mut table = Table::new();
    for (key, item) in found.iter() {
        table.insert(key, item.clone());
    }
    outer.insert(name, Item::Table(table));
    alone.insert(parent, Item::Table(outer));
    Ok(format!("{}\n\n{alone}", into.trim_end()))
}

fn add_in_braces(
    source: &str,
    path: &[&str],
    entries: &[Entry],
) -> Result<Option<String>, ConfigError> {
    let Some((name, parents)) = path.split_last() else {
        return Ok(None);
    };
    let mut document = parse(source)?;
    let Some(parent) = item_at(document.as_item_mut(), parents).and_then(Item::as_inline_table_mut)
    else {
        return Ok(None);
    };
    let mut table = InlineTable::new();
    for entry in entries {
        put(&mut table, entry.key, entry.value.clone());
    }
    parent.insert(*name, Value::InlineTable(table));
    Ok(Some(in_newlines_of(source, document.to_string())))
}

/// Removes a table of `parent`, with the comment directly above it. A comment that a blank line
/// parts from it speaks of something else and stays.
pub(super) fn remove_table(source: &str, parent: &str, name: &str) -> Result<String, ConfigError> {
    let mut document = parse(source)?;
    let removed = document
        .get_mut(parent)
        .and_then(Item::as_table_like_mut)
        .and_then(|table| table.remove(name));
    if let Some(Item::Table(table)) = &removed {
        let prefix = table.decor().prefix().and_then(|p| p.as_str());
        if let (Some(prefix), Some(position)) = (prefix, table.position()) {
            keep_comment(&mut document, detached(prefix), position);
        }
    }
    Ok(in_newlines_of(source, document.to_string()))
}

/// What of the lines above a table is parted from it by a blank line, if any of it is a comment.
fn detached(prefix: &str) -> &str {
    let mut end = prefix.len();
    for line in prefix.split_inclusive('\n').rev() {
        if line.trim().is_empty() {
            break;
        }
        end -= line.len();
    }
    if prefix[..end].contains('#') {
        &prefix[..end]
    } else {
        ""
    }
}

/// Puts a comment above the first table after `position`, or at the end of the file.
fn keep_comment(document: &mut DocumentMut, comment: &str, position: isize) {
    if comment.is_empty() {
        return;
    }
    let mut next = None;
    next_position(document.as_table(), position, &mut next);
    match next.and_then(|next| table_with_position(document.as_table_mut(), next)) {
        Some(table) => {
            let prefix = table.decor().prefix().and_then(|p| p.as_str());
            let prefix = prefix.unwrap_or_default();
            let prefix = format!("{comment}{}", prefix.trim_start_matches(['\r', '\n']));
            table.decor_mut().set_prefix(prefix);
        }
        None => {
            let trailing = document.trailing().as_str().unwrap_or_default();
            let trailing = match trailing.trim_start_matches(['\r', '\n']) {
                // Blank lines part the comment from what follows; at the end nothing does.
                "" => format!("{}\n", comment.trim_end()),
                rest => format!("{comment}{rest}"),
            };
            document.set_trailing(trailing);
        }
    }
}

fn next_position(table: &Table, after: isize, next: &mut Option<isize>) {
    for (_, item) in table {
        let Item::Table(inner) = item else { continue };
        if let Some(position) = inner.position().filter(|position| *position > after) {
            *next = Some(next.map_or(position, |best| best.min(position)));
        }
        next_position(inner, after, next);
    }
}

fn table_with_position(table: &mut Table, wanted: isize) -> Option<&mut Table> {
    for (_, item) in table.iter_mut() {
        let Item::Table(inner) = item else { continue };
        if inner.position() == Some(wanted) && !inner.is_implicit() {
            return Some(inner);
        }
        if let Some(found) = table_with_position(inner, wanted) {
            return Some(found);
        }
    }
    None
}

fn parse(source: &str) -> Result<DocumentMut, ConfigError> {
    source
        .parse::<DocumentMut>()
        .map_err(|error| syntax(source, &error))
}

fn item_at<'a>(root: &'a mut Item, path: &[&str]) -> Option<&'a mut Item> {
    path.iter().try_fold(root, |item, name| {
        item.as_table_like_mut()
            .and_then(|table| table.get_mut(name))
    })
}

fn table_at<'a>(root: &'a mut Item, path: &[&str]) -> Option<&'a mut dyn TableLike> {
    item_at(root, path)?.as_table_like_mut()
}

/// Replaces a value and keeps what is written around it.
fn put(table: &mut dyn TableLike, key: &str, value: Option<Value>) {
    let Some(mut value) = value else {
        table.remove(key);
        return;
    };
    match table.get_mut(key) {
        Some(Item::Value(old)) => {
            *value.decor_mut() = old.decor().clone();
            *old = value;
        }
        _ => drop(table.insert(key, Item::Value(value))),
    }
}

/// New lines end as those of the file do.
fn in_newlines_of(source: &str, text: String) -> String {
    if source.contains("\r\n") {
        text.replace("\r\n", "\n").replace('\n', "\r\n")
    } else {
        text
    }
}
