//! Checking a template whole: minijinja finds an unknown filter only when it meets it, which may be at the millionth
//! recipient.

use super::TemplateError;
use minijinja::machinery::ast::{BinOpKind, Expr, Stmt};
use minijinja::machinery::{Span, Token, WhitespaceConfig, parse, tokenize};
use minijinja::syntax::SyntaxConfig;
use minijinja::{Environment, Error, ErrorKind, Value, filters as f};
use std::borrow::Cow;
use std::sync::OnceLock;

type AddFilter = fn(&mut Environment<'static>, &'static str);

/// The filters that a template may use. Each of them ends in time linear in its input, and what comes out is no larger
/// than what went in, but for `join`.
pub(super) fn filters() -> [(&'static str, AddFilter); 12] {
    [
        ("default", |e, n| e.add_filter(n, f::default)),
        ("upper", |e, n| e.add_filter(n, f::upper)),
        ("lower", |e, n| e.add_filter(n, f::lower)),
        ("title", |e, n| e.add_filter(n, f::title)),
        ("capitalize", |e, n| e.add_filter(n, f::capitalize)),
        ("trim", |e, n| e.add_filter(n, f::trim)),
        ("first", |e, n| e.add_filter(n, f::first)),
        ("last", |e, n| e.add_filter(n, f::last)),
        ("length", |e, n| e.add_filter(n, f::length)),
        ("join", |e, n| e.add_filter(n, join)),
        ("round", |e, n| e.add_filter(n, f::round)),
        ("int", |e, n| e.add_filter(n, f::int)),
    ]
}

/// The most bytes that `join` makes.
const MAX_JOINED: usize = 4 * super::MAX_CHARS;

/// Joins a list's values, or a text's characters, as the engine's own filter does, but to no more than fits a message.
fn join(list: &Value, between: Option<Cow<'_, str>>) -> Result<String, Error> {
    let mut joined = String::new();
    for (nth, value) in list.try_iter()?.enumerate() {
        if nth > 0 {
            joined.push_str(between.as_deref().unwrap_or_default());
        }
        match value.as_str() {
            Some(text) => joined.push_str(text),
            None => joined.push_str(&value.to_string()),
        }
        if joined.len() > MAX_JOINED {
            return Err(Error::new(ErrorKind::InvalidOperation, "join makes more than a message can have"));
        }
    }
    Ok(joined)
}

const VARIABLES: [&str; 3] = ["name", "phone", "attributes"];

/// The engine's syntax with `{{ … }}` as its only marks. Blocks and comments cannot be switched off there, so they get
/// marks with a NUL, which no text of a message has. It is made once: it has an automaton that finds the marks.
pub(super) fn syntax() -> Result<SyntaxConfig, Error> {
    static SYNTAX: OnceLock<SyntaxConfig> = OnceLock::new();
    if let Some(made) = SYNTAX.get() {
        return Ok(made.clone());
    }
    let made = SyntaxConfig::builder().block_delimiters("\0%", "%\0").comment_delimiters("\0#", "#\0").build()?;
    Ok(SYNTAX.get_or_init(|| made).clone())
}

/// Finds the first error of a template.
pub(super) fn check(content: &str, syntax: &SyntaxConfig) -> Result<(), TemplateError> {
    check_tokens(content, syntax)?;
    let tree = parse(content, super::NAME, syntax.clone(), WhitespaceConfig::default())
        .map_err(|error| error_at(content, &error))?;
    Checker { depth: 0 }.statement(&tree)
}

/// What is said of a `{{` that is never closed.
const NOT_CLOSED: &str =
    "this {{ is not closed; write }} behind the placeholder, or {{ '{{' }} for the braces themselves";

/// The most words and signs between one pair of braces. The engine's parser goes down a level for some of them, and has
/// no limit of its own for those: a line of minus signs took the stack, and the process with it.
const MAX_TOKENS: usize = 300;

fn check_tokens(content: &str, syntax: &SyntaxConfig) -> Result<(), TemplateError> {
    let (mut tokens, mut begun, mut brace_at) = (0, None, None);
    for token in tokenize(content, false, syntax.clone(), WhitespaceConfig::default()) {
        let (token, span) = match (token, begun) {
            (Ok(token), _) => token,
            (Err(_), Some(begun)) if !closes(content, begun) => return refuse(begun, NOT_CLOSED.into()),
            (Err(error), _) => return Err(error_at(content, &error)),
        };
        // A mark within a placeholder is that of the next one: the first was not closed.
        if let (Token::BraceOpen, Some(begun), Some(before)) = (&token, begun, brace_at)
            && before == span.start_offset
        {
            return refuse(begun, NOT_CLOSED.into());
        }
        brace_at = matches!(token, Token::BraceOpen).then_some(span.end_offset);
        tokens = match token {
            Token::VariableStart => {
                begun = Some(span);
                0
            }
            Token::VariableEnd => {
                begun = None;
                0
            }
            _ if tokens == MAX_TOKENS => return refuse(span, "is too long".into()),
            _ => tokens + 1,
        };
    }
    begun.map_or(Ok(()), |begun| refuse(begun, NOT_CLOSED.into()))
}

/// Whether there is a closing mark behind an opening one, and before the next opening one.
fn closes(content: &str, begun: Span) -> bool {
    let end = usize::try_from(begun.end_offset).unwrap_or(usize::MAX);
    let rest = content.get(end..).unwrap_or_default();
    rest.find("}}").is_some_and(|closed| rest.find("{{").is_none_or(|next| closed < next))
}

/// An error of the engine with its place.
pub(super) fn error_at(content: &str, error: &minijinja::Error) -> TemplateError {
    let message = error.detail().map_or_else(|| error.kind().to_string(), str::to_owned);
    match error.range() {
        Some(range) => error_behind(content, range.start, message),
        None => TemplateError { line: error.line().map_or(1, number), column: 1, message },
    }
}

/// An error at a byte of the text.
pub(super) fn error_behind(content: &str, at: usize, message: String) -> TemplateError {
    let before = content.get(..at.min(content.len())).unwrap_or(content);
    let line_start = before.rfind('\n').map_or(0, |at| at + 1);
    TemplateError {
        line: number(before.matches('\n').count() + 1),
        column: number(before.get(line_start..).map_or(0, |line| line.chars().count()) + 1),
        message,
    }
}

fn number(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

/// How deep a template may nest: the engine walks it recursively.
const MAX_DEPTH: usize = 40;

/// The size that a value may come to, in sizes of the largest value of a recipient: a text put together with itself over
/// and over would double each time.
type Weight = u32;

/// The most that a value may come to.
const MAX_WEIGHT: Weight = 32;

/// How deep the walk is.
struct Checker {
    depth: usize,
}

type Checked<T = ()> = Result<T, TemplateError>;

fn refuse<T>(span: Span, message: String) -> Checked<T> {
    Err(TemplateError { line: u32::from(span.start_line).max(1), column: u32::from(span.start_col) + 1, message })
}

impl Checker {
    fn statement(&mut self, statement: &Stmt<'_>) -> Checked {
        match statement {
            Stmt::Template(t) => t.children.iter().try_for_each(|statement| self.statement(statement)),
            Stmt::EmitExpr(e) => self.expr(&e.expr).map(drop),
            Stmt::EmitRaw(_) => Ok(()),
            // The syntax has no mark for any other: should there be one, it is not taken.
            _ => refuse(Span::default(), "only {{ … }} has a meaning in a message".into()),
        }
    }

    fn expr(&mut self, expr: &Expr<'_>) -> Checked<Weight> {
        self.depth += 1;
        let checked = if self.depth > 4 * MAX_DEPTH {
            refuse(expr.span(), "nested too deeply".into())
        } else {
            self.expr_here(expr)
        };
        self.depth -= 1;
        match checked {
            Ok(weight) if weight > MAX_WEIGHT => refuse(expr.span(), "puts together too large a text".into()),
            checked => checked,
        }
    }

    /// The weight of all of them together.
    fn sum<'e, 'a: 'e>(&mut self, exprs: impl IntoIterator<Item = &'e Expr<'a>>) -> Checked<Weight> {
        exprs.into_iter().try_fold(0, |sum: Weight, expr| Ok(sum.saturating_add(self.expr(expr)?)))
    }

    fn expr_here(&mut self, expr: &Expr<'_>) -> Checked<Weight> {
        match expr {
            Expr::Var(var) if VARIABLES.contains(&var.id) => Ok(1),
            Expr::Var(var) => {
                let known = "there are name, phone and attributes";
                refuse(var.span(), format!("unknown variable {:?}; {known}", var.id))
            }
            Expr::Const(_) => Ok(1),
            Expr::Slice(e) => {
                self.sum([&e.start, &e.stop, &e.step].into_iter().flatten())?;
                self.expr(&e.expr)
            }
            Expr::UnaryOp(e) => self.expr(&e.expr).map(|_| 1),
            Expr::BinOp(e) => {
                let both = self.sum([&e.left, &e.right])?;
                match e.op {
                    BinOpKind::Mul if !(is_number(&e.left) && is_number(&e.right)) => {
                        refuse(e.span(), "only numbers can be multiplied; `| int` makes one".into())
                    }
                    BinOpKind::Add | BinOpKind::Concat | BinOpKind::ScAnd | BinOpKind::ScOr => Ok(both),
                    _ => Ok(1),
                }
            }
            Expr::Compare(e) => {
                self.expr(&e.expr)?;
                self.sum(e.ops.iter().map(|op| &op.expr)).map(|_| 1)
            }
            Expr::IfExpr(e) => {
                self.expr(&e.test_expr)?;
                self.sum([&e.true_expr].into_iter().chain(&e.false_expr))
            }
            Expr::Filter(e) => {
                let weight = self.sum(&e.expr)?;
                if !filters().iter().any(|(name, _)| *name == e.name) {
                    return refuse(e.span(), format!("unknown filter {:?}", e.name));
                }
                let arguments = e.args.iter().try_fold(0, |sum: Weight, arg| Ok(sum + self.argument(arg)?))?;
                Ok(match e.name {
                    // Limited by itself, and a recipient's value may be as short as anything.
                    "join" => JOINED_WEIGHT,
                    _ => weight.saturating_add(arguments),
                })
            }
            Expr::Test(e) => refuse(e.span(), format!("unknown test {:?}", e.name)),
            Expr::GetAttr(e) => self.expr(&e.expr),
            Expr::GetItem(e) => {
                self.expr(&e.subscript_expr)?;
                self.expr(&e.expr)
            }
            Expr::Call(e) => refuse(e.span(), format!("a message cannot call functions ({})", describe(&e.expr))),
            Expr::List(e) => Ok(self.sum(&e.items)?.max(1)),
            Expr::Map(e) => Ok(self.sum(e.keys.iter().chain(&e.values))?.max(1)),
        }
    }

    fn argument(&mut self, argument: &minijinja::machinery::ast::CallArg<'_>) -> Checked<Weight> {
        use minijinja::machinery::ast::CallArg;
        match argument {
            CallArg::Pos(e) | CallArg::Kwarg(_, e) | CallArg::PosSplat(e) | CallArg::KwargSplat(e) => self.expr(e),
        }
    }
}

/// What a joined text counts as.
const JOINED_WEIGHT: Weight = 4;

/// Whether an expression is a number whatever the recipient's values are: everything else may be a text or a list, which
/// multiplying repeats.
fn is_number(expr: &Expr<'_>) -> bool {
    match expr {
        Expr::Const(constant) => constant.value.is_number(),
        Expr::UnaryOp(e) => is_number(&e.expr),
        Expr::BinOp(e) => match e.op {
            BinOpKind::Add | BinOpKind::Sub | BinOpKind::Mul => is_number(&e.left) && is_number(&e.right),
            BinOpKind::Div | BinOpKind::FloorDiv | BinOpKind::Rem | BinOpKind::Pow => true,
            _ => false,
        },
        Expr::Filter(e) => matches!(e.name, "int" | "round" | "length"),
        _ => false,
    }
}

fn describe(expr: &Expr<'_>) -> String {
    match expr {
        Expr::Var(var) => var.id.to_owned(),
        Expr::GetAttr(attr) => attr.name.to_owned(),
        _ => expr.description().to_owned(),
    }
}
