//! Message texts with placeholders: `{{ name }}`, `{{ phone }}`, `{{ attributes.x | default('…') }}`.
//!
//! Only `{{ … }}` has a meaning. Every other brace is text, also `{%` and `{#`: people write addresses as `{#12 row C#}`.
//! A template is checked whole when it is parsed: its syntax, and every name it uses, on all its paths. It reaches
//! nothing but the recipient's values, and it ends: by a step limit, and by the length of a message. No value on the way
//! to a message is much larger than the message may be, so neither memory nor the time of a step is the template's.

mod check;

use minijinja::{Environment, UndefinedBehavior, Value, context};

/// The most characters a message may have, and the most a template may.
pub const MAX_CHARS: usize = 4096;

/// Steps of the template engine for one message: far more than any message needs.
const FUEL: u64 = 20_000;

/// Why a template does not parse. Line and column are counted from 1.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, column {column}: {message}")]
pub struct TemplateError {
    /// The line.
    pub line: u32,
    /// The column, in characters.
    pub column: u32,
    /// What is wrong there.
    pub message: String,
}

/// Why a message could not be made from a template.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RenderError {
    /// It came out too long.
    #[error("the message is longer than {MAX_CHARS} characters")]
    TooLong,
    /// Nothing came out.
    #[error("the message is empty")]
    Empty,
    /// The engine's reason.
    #[error("{0}")]
    Failed(String),
}

/// Whose values fill the placeholders.
#[derive(Clone, Copy, Debug)]
pub struct Recipient<'a> {
    /// The name, where one is known.
    pub name: Option<&'a str>,
    /// The number: digits without `+`.
    pub phone: &'a str,
    /// An object of further values.
    pub attributes: &'a serde_json::Value,
}

/// A parsed template: parse once, render often.
#[derive(Debug)]
pub struct Template {
    /// `None`: the text has no placeholders and is the message.
    environment: Option<Environment<'static>>,
    plain: String,
}

const NAME: &str = "message";

impl Template {
    /// Parses and checks a template.
    ///
    /// # Errors
    /// The first error, with its place.
    pub fn parse(content: &str) -> Result<Self, TemplateError> {
        if !content.contains("{{") {
            return Ok(Self { environment: None, plain: content.to_owned() });
        }
        if let Some(at) = content.find('\0') {
            return Err(check::error_behind(content, at, "a message has no NUL character".into()));
        }
        let syntax = check::syntax().map_err(|error| check::error_at(content, &error))?;
        let mut environment = Environment::empty();
        environment.set_undefined_behavior(UndefinedBehavior::Chainable);
        environment.set_fuel(Some(FUEL));
        environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
        environment.set_keep_trailing_newline(true);
        for (name, filter) in check::filters() {
            filter(&mut environment, name);
        }
        check::check(content, &syntax)?;
        environment.set_syntax(syntax);
        environment.add_template_owned(NAME, content.to_owned()).map_err(|error| check::error_at(content, &error))?;
        Ok(Self { environment: Some(environment), plain: String::new() })
    }

    /// Makes one recipient's message.
    ///
    /// # Errors
    /// See [`RenderError`].
    pub fn render(&self, recipient: &Recipient<'_>) -> Result<String, RenderError> {
        let Some(environment) = &self.environment else {
            return bounded(self.plain.clone());
        };
        let template = environment.get_template(NAME).map_err(|e| RenderError::Failed(e.to_string()))?;
        // A missing name is undefined, so that `default` gives it a value.
        let name = recipient.name.filter(|name| !name.is_empty()).map_or(Value::UNDEFINED, Value::from);
        let values = context! {
            name,
            phone => recipient.phone,
            attributes => Value::from_serialize(recipient.attributes),
        };
        let mut out = Bounded::default();
        match template.render_captured_to(values, &mut out) {
            Ok(_) => bounded(String::from_utf8_lossy(&out.bytes).into_owned()),
            Err(_) if out.full => Err(RenderError::TooLong),
            Err(error) => Err(RenderError::Failed(error.to_string())),
        }
    }
}

fn bounded(text: String) -> Result<String, RenderError> {
    if text.len() > MAX_CHARS && text.chars().count() > MAX_CHARS {
        return Err(RenderError::TooLong);
    }
    if text.trim().is_empty() {
        return Err(RenderError::Empty);
    }
    Ok(text)
}

/// Takes as many bytes as a message can have and refuses more, so that a loop cannot fill the memory.
#[derive(Default)]
struct Bounded {
    bytes: Vec<u8>,
    full: bool,
}

impl std::io::Write for Bounded {
    fn write(&mut self, buf: &[u8]) -> std::io::Result<usize> {
        if self.bytes.len() + buf.len() > 4 * MAX_CHARS {
            self.full = true;
            return Err(std::io::ErrorKind::FileTooLarge.into());
        }
        self.bytes.extend_from_slice(buf);
        Ok(buf.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn render(template: &str) -> Result<String, RenderError> {
        let attributes = json!({ "city": "Ipoh", "n": 3, "list": [1, 2] });
        let recipient = Recipient { name: Some("Ann"), phone: "60123456789", attributes: &attributes };
        Template::parse(template).map_err(|e| RenderError::Failed(e.to_string()))?.render(&recipient)
    }

    #[test]
    fn placeholders_are_filled() {
        for (template, text) in [
            ("hello", "hello"),
            ("Hi {{ name }}, {{ phone }}", "Hi Ann, 60123456789"),
            ("{{ attributes.city }}", "Ipoh"),
            ("{{ attributes.nope | default('there') }}", "there"),
            ("[{{ attributes.nope }}]", "[]"),
            ("[{{ attributes.no.such.thing }}]", "[]"),
            ("{{ 'many' if attributes.n > 2 else 'few' }}", "many"),
            ("{{ name | upper }}", "ANN"),
            ("a < b & {{ '<' }}", "a < b & <"),
        ] {
            assert_eq!(render(template), Ok(text.to_owned()), "{template}");
        }
    }

    #[test]
    fn only_a_placeholder_has_a_meaning_and_every_other_brace_is_text() {
        for text in [
            "{#12 row C#}",
            "{# nothing #}",
            "{% if name %}",
            "{% raw %}x{% endraw %}",
            "100% {of} them } }} %} #} {",
            "{ { name } }",
            "# for x in name",
            "{%",
            "{#",
        ] {
            assert_eq!(render(text), Ok(text.to_owned()), "alone");
            // Beside a placeholder, where the engine reads the text.
            assert_eq!(render(&format!("{text} {{{{ name }}}} {text}")), Ok(format!("{text} Ann {text}")));
        }
        assert_eq!(render("{{ '{{' }}{{ '}}' }}"), Ok("{{}}".into()));
        assert_eq!(render("{{ name }}}"), Ok("Ann}".into()));
        assert_eq!(render("a {{- name -}} \n b"), Ok("aAnnb".into()));
    }

    #[test]
    fn a_placeholder_that_is_not_closed_says_so_at_its_place() {
        for (template, line, column) in [
            ("a\nb {{ name", 2, 3),
            ("{{", 1, 1),
            ("{{ name }", 1, 1),
            ("{{ name | default('}}')", 1, 1),
            ("only {{ 3 left! {{ name }}", 1, 6),
            ("{{ name }} and {{ €", 1, 16),
        ] {
            let error = Template::parse(template).expect_err(template);
            assert_eq!((error.line, error.column), (line, column), "{template}: {error}");
            assert!(error.message.contains("not closed"), "{template}: {error}");
        }
    }

    #[test]
    fn a_missing_name_takes_the_default() {
        let attributes = json!({});
        let template = Template::parse("Hi {{ name | default('friend') }}").expect("parses");
        let recipient = Recipient { name: None, phone: "1", attributes: &attributes };
        assert_eq!(template.render(&recipient), Ok("Hi friend".into()));
    }

    #[test]
    fn an_error_names_its_place() {
        for (template, line, column, word) in [
            ("{{ name | nope }}", 1, 11, "nope"),
            ("x\n  {{ name if name else (phone | nope) }}", 2, 33, "nope"),
            ("{{ nmae }}", 1, 4, "nmae"),
            ("{{ range(9) }}", 1, 4, "range"),
            ("{{ name is nope }}", 1, 12, "nope"),
            ("{{ super() }}", 1, 4, "super"),
        ] {
            let error = Template::parse(template).expect_err(template);
            assert_eq!((error.line, error.column), (line, column), "{template}: {error}");
            assert!(error.message.contains(word), "{template}: {error}");
        }
    }

    #[test]
    fn a_message_is_not_too_long_and_not_empty() {
        assert_eq!(render(&"{{ phone }}".repeat(400)), Err(RenderError::TooLong));
        assert_eq!(render("{{ attributes.nope }}"), Err(RenderError::Empty));
    }

    #[test]
    fn no_value_outgrows_a_message() {
        let added = |times: usize| format!("{{{{ (phone{}) | length }}}}", " ~ phone".repeat(times - 1));
        assert_eq!(render(&added(8)), Ok("88".into()));
        for (template, word) in [
            (added(40).as_str(), "too large"),
            ("{{ 'x' * 1000000000 }}", "only numbers"),
            ("{{ 1000000000 * name }}", "only numbers"),
            ("{{ [1] * 1000000000 | join }}", "only numbers"),
            ("{{ (attributes.n | default('x')) * 9 }}", "only numbers"),
        ] {
            let refused = Template::parse(template).expect_err(template);
            assert!(refused.message.contains(word), "{template}: {refused}");
        }
        let long = "x".repeat(1_000);
        let attributes = json!({ "long": long });
        let recipient = Recipient { name: None, phone: "1", attributes: &attributes };
        let joined = Template::parse("{{ attributes.long | join(attributes.long) | length }}").expect("parses");
        assert!(matches!(joined.render(&recipient), Err(RenderError::Failed(why)) if why.contains("join")));
        assert_eq!(
            render("{{ attributes.list | join(', ') }} {{ 3 * (attributes.n | int) }} {{ 2 ** 10 }}"),
            Ok("1, 2 9 1024".into())
        );
    }

    #[test]
    fn nesting_is_refused_before_it_takes_the_stack() {
        for (open, close) in
            [("(", ")"), ("[", "]"), ("-", ""), ("not ", ""), ("", "|upper"), ("", ".x"), ("", "~name"), ("", "[0]")]
        {
            let template = format!(
                "{{{{ {}name{} }}}}",
                open.repeat(4_000 / (open.len() + close.len())),
                close.repeat(4_000 / (open.len() + close.len()))
            );
            assert!(Template::parse(&template).is_err(), "{open}{close}");
        }
    }

    proptest! {
        #[test]
        fn any_text_parses_and_renders_or_says_why(text in "(\\{\\{|\\}\\}|\\{%|%\\}|\\{#|#\\}| |name|if|for|in|\\||default|\\(|\\)|'|[a-z]|\\n){0,30}") {
            let _outcome = render(&text);
        }

        /// Whatever stands around it is sent as it was written.
        #[test]
        fn text_without_a_placeholder_is_sent_as_it_is(before in "[^{}\\x00]{0,10}(\\{[%#]?)?", after in "([%#]?\\})?[^{}\\x00]{0,10}") {
            let text = format!("{before} {{{{ name }}}} {after}");
            prop_assert_eq!(render(&text), Ok(format!("{before} Ann {after}")));
        }
    }
}
