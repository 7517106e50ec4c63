//! What a request says, whatever protocol it came by.

use serde_json::Value;

/// A request to a model, as far as a script looks at it.
#[derive(Debug, Default)]
pub struct Conversation {
    /// What was said so far, oldest first.
    pub turns: Vec<Turn>,
    /// The tools that the agent offers.
    pub tools: Vec<Tool>,
    /// The model that is asked for.
    pub model: String,
    /// Whether the answer is to come as a stream of events.
    pub streams: bool,
    /// Whether the answer must be JSON.
    pub wants_json: bool,
}

/// One piece of a conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Turn {
    /// The agent or its user said something to the model.
    Asked(String),
    /// The model called tools, and said this along with it.
    Called(String),
    /// The model said something and called nothing.
    Said(String),
}

/// A tool that the agent offers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tool {
    /// Its name.
    pub name: String,
    /// The JSON schema of its arguments; null where it has none.
    pub schema: Value,
    /// How it is called.
    pub form: Form,
    /// The group it is in, where a protocol has groups.
    pub group: Option<String>,
}

/// How a tool is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// With arguments by name.
    Function,
    /// With one text.
    Text,
    /// With a command line, as an item of its own kind.
    LocalShell,
}

impl Tool {
    /// A tool that is called with arguments by name.
    pub fn function(name: &Value, schema: &Value) -> Self {
        Self {
            name: name.as_str().unwrap_or_default().to_owned(),
            schema: schema.clone(),
            form: Form::Function,
            group: None,
        }
    }
}

impl Conversation {
    /// How many answers with tool calls the model has given since it last said something without
    /// one: the position in the script. An empty word counts for nothing.
    pub fn step(&self) -> usize {
        let mut step = 0;
        for turn in self.turns.iter().rev() {
            match turn {
                Turn::Called(_) => step += 1,
                Turn::Said(text) if !text.trim().is_empty() => break,
                Turn::Said(_) | Turn::Asked(_) => {}
            }
        }
        step
    }

    /// Whether the model has said this before.
    pub fn remembers(&self, word: &str) -> bool {
        self.turns
            .iter()
            .any(|turn| matches!(turn, Turn::Said(text) if text.contains(word)))
    }

    /// Everything that was said to the model, in one text.
    pub fn asked(&self) -> String {
        let asked = self.turns.iter().filter_map(|turn| match turn {
            Turn::Asked(text) => Some(text.as_str()),
            Turn::Called(_) | Turn::Said(_) => None,
        });
        asked.collect::<Vec<_>>().join("\n")
    }
}

/// The text of a content that is either a text or a list of parts with texts.
pub fn text_of(content: &Value) -> String {
    match content {
        Value::String(text) => text.clone(),
        Value::Array(parts) => {
            let texts = parts
                .iter()
                .filter_map(|part| part.as_str().or_else(|| part["text"].as_str()));
            texts.collect::<Vec<_>>().join("\n")
        }
        _ => String::new(),
    }
}

/// The elements of a list; none if it is not one.
pub fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(turns: &[Turn]) -> usize {
        let conversation = Conversation {
            turns: turns.to_vec(),
            ..Conversation::default()
        };
        conversation.step()
    }

    #[test]
    fn the_position_is_counted_from_the_last_word_without_a_call() {
        let asked = || Turn::Asked("do it".into());
        let called = || Turn::Called(String::new());
        let said = |text: &str| Turn::Said(text.into());
        assert_eq!(step(&[asked()]), 0);
        assert_eq!(step(&[asked(), called(), asked()]), 1);
        assert_eq!(step(&[asked(), called(), asked(), called()]), 2);
        assert_eq!(step(&[called(), said("done"), asked()]), 0);
        assert_eq!(
            step(&[said("done"), asked(), called(), said(" "), asked()]),
            1
        );
    }

    #[test]
    fn texts_are_found_in_both_forms() {
        let parts = serde_json::json!([{"type": "text", "text": "a"}, {"type": "image"}, "b"]);
        assert_eq!(text_of(&parts), "a\nb");
        assert_eq!(text_of(&Value::from("c")), "c");
        assert_eq!(text_of(&Value::Null), "");
    }
}
