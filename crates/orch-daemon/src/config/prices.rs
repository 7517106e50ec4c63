//! What tokens cost: `[prices."MODEL"]` of `orch.toml`, and the table that comes with orch.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use orch_core::price::Price;
use toml_edit::{Document, Item, TableLike};

use super::error::{Fault, shown};
use super::value::{Checker, key_span, shown_value};

/// The name of the table.
pub(super) const NAME: &str = "prices";
/// Its keys.
pub(super) const KEYS: [&str; 4] = ["input", "output", "cache_read", "cache_write"];
/// Highest price, US dollars per million tokens.
pub(super) const MOST: f64 = 1e6;
/// Most models one may price.
const MODELS: usize = 1_000;

/// The table that comes with orch.
const BUILT_IN: &str = include_str!("../prices.toml");

static LIST_PRICES: LazyLock<Prices> = LazyLock::new(|| {
    let document = Document::parse(BUILT_IN).ok();
    let table = document
        .as_ref()
        .and_then(|it| it.get(NAME)?.as_table_like());
    table.map_or_else(Prices::default, |table| read(&mut Checker::new(&[]), table))
});

/// Prices by the name of a model, or by its beginning and `*`.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Prices(BTreeMap<String, Price>);

impl Prices {
    /// What tokens of `model` cost: as the user says, or else as the table that comes with orch
    /// does. A provider before the name (`provider/model`) is passed over.
    #[must_use]
    pub fn of(&self, model: &str) -> Option<Price> {
        let bare = model.rsplit('/').next().unwrap_or(model);
        self.find(model)
            .or_else(|| self.find(bare))
            .or_else(|| LIST_PRICES.find(bare))
    }

    fn find(&self, model: &str) -> Option<Price> {
        let begins_so = |name: &&String| {
            let beginning = name.strip_suffix('*');
            beginning.is_some_and(|beginning| model.starts_with(beginning))
        };
        let exact = self.0.get(model).copied();
        exact.or_else(|| {
            let longest = self
                .0
                .keys()
                .filter(begins_so)
                .max_by_key(|name| name.len());
            longest.and_then(|name| self.0.get(name).copied())
        })
    }
}

/// Reads the table of prices.
pub(super) fn read(checker: &mut Checker<'_>, table: &dyn TableLike) -> Prices {
    let mut prices = BTreeMap::new();
    for (model, item) in table.iter() {
        let Some(inner) = item.as_table_like() else {
            let what = format!("{NAME}.{} is {}", shown(model), shown_value(item));
            let fault = Fault::expected(what, "a table like { input = 3.0, output = 15.0 }");
            checker.note(key_span(table, model), fault);
            continue;
        };
        let faults = checker.found.len();
        let of_model = values(checker, inner);
        let price = price(&of_model);
        if price.is_none() && checker.found.len() == faults {
            let what = format!("the price of {} is not whole", shown(model));
            let fault = Fault::expected(what, "both input and output");
            checker.note(key_span(table, model), fault);
        }
        prices.extend(price.map(|price| (model.to_owned(), price)));
    }
    if prices.len() > MODELS {
        let what = format!("there are prices of {} models", prices.len());
        checker.note(None, Fault::expected(what, &format!("at most {MODELS}")));
    }
    Prices(prices)
}

fn price(of_model: &BTreeMap<&str, f64>) -> Option<Price> {
    let [input, output, cache_read, cache_write] = KEYS.map(|key| of_model.get(key).copied());
    Some(Price {
        input: input?,
        output: output?,
        cache_read,
        cache_write,
    })
}

fn values(checker: &mut Checker<'_>, table: &dyn TableLike) -> BTreeMap<&'static str, f64> {
    let mut values = BTreeMap::new();
    for (name, item) in table.iter() {
        let Some(key) = KEYS.into_iter().find(|key| *key == name) else {
            let what = format!("unknown key '{}'", shown(name));
            checker.note(key_span(table, name), Fault::unknown(what, name, &KEYS));
            continue;
        };
        match dollars(item) {
            Some(dollars) => {
                values.insert(key, dollars);
            }
            None => {
                let what = format!("{key} is {}", shown_value(item));
                let expected = format!("US dollars per million tokens, from 0 to {MOST}");
                checker.note(item.span(), Fault::expected(what, &expected));
            }
        }
    }
    values
}

fn dollars(item: &Item) -> Option<f64> {
    #[expect(
        clippy::cast_precision_loss,
        reason = "what is beyond the highest price is refused"
    )]
    let whole = |number: i64| number as f64;
    let number = item.as_float().or_else(|| item.as_integer().map(whole))?;
    (0.0..=MOST).contains(&number).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prices(text: &str) -> (Prices, Vec<String>) {
        let document = Document::parse(text).unwrap();
        let mut checker = Checker::new(&[]);
        let table = document.get(NAME).unwrap().as_table_like().unwrap();
        let prices = read(&mut checker, table);
        let found = checker.found.iter();
        (prices, found.map(|it| it.fault.what.clone()).collect())
    }

    #[test]
    fn the_table_that_comes_with_orch_is_whole() {
        let (built_in, faults) = prices(BUILT_IN);
        assert_eq!(faults, Vec::<String>::new());
        assert!(built_in.0.len() >= 10, "{}", built_in.0.len());
        assert!(BUILT_IN.contains("2026"), "it says when it was taken");
        let sonnet = Prices::default().of("claude-sonnet-4-5-20250929").unwrap();
        assert_eq!((sonnet.input, sonnet.cache_read), (3.0, Some(0.3)));
        assert_eq!(
            Prices::default().of("anthropic/claude-sonnet-4-6"),
            Some(sonnet)
        );
        // A name is not the beginning of another one unless the table says so.
        assert_eq!(Prices::default().of("gpt-5-nano"), None);
        assert_eq!(Prices::default().of("nobody-knows"), None);
    }

    #[test]
    fn what_the_user_says_wins_and_the_longest_beginning_before_the_others() {
        let (own, faults) = prices(
            "[prices.\"gpt-5\"]\ninput = 1\noutput = 2\n\
             [prices.\"my*\"]\ninput = 3\noutput = 0.5\n\
             [prices.\"my-big*\"]\ninput = 4\noutput = 0\n\
             [prices.\"here/m\"]\ninput = 5\noutput = 5\n",
        );
        assert_eq!(faults, Vec::<String>::new());
        let input = |model: &str| own.of(model).map(|price| price.input);
        assert_eq!(input("gpt-5"), Some(1.0));
        assert_eq!(input("openai/gpt-5"), Some(1.0));
        assert_eq!(input("my-small"), Some(3.0));
        assert_eq!(input("my-big-1"), Some(4.0));
        assert_eq!(input("here/m"), Some(5.0));
        assert_eq!(input("there/m"), None);
        assert_eq!(input("gpt-5.5"), Some(5.0), "the others are still there");
    }

    #[test]
    fn what_is_no_price_is_said() {
        for (text, part) in [
            ("[prices]\na = 3", "prices.a is"),
            ("[prices.a]\ninput = 3", "not whole"),
            ("[prices.a]\ninput = -1\noutput = 1", "input is"),
            ("[prices.a]\ninput = nan\noutput = 1", "input is"),
            ("[prices.a]\ninput = \"3\"\noutput = 1", "input is"),
            (
                "[prices.a]\ninput = 1\noutput = 1\ncached = 1",
                "unknown key",
            ),
        ] {
            let (_, faults) = prices(text);
            assert_eq!(faults.len(), 1, "{text}: {faults:?}");
            assert!(faults[0].contains(part), "{text}: {faults:?}");
        }
    }
}
