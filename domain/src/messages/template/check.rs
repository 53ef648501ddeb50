//! Checking a template on all its paths: minijinja finds an unknown filter only when it meets it, which may be at the
//! millionth recipient.

use super::TemplateError;
use minijinja::machinery::ast::{Expr, Spanned, Stmt};
use minijinja::machinery::{Span, WhitespaceConfig, parse};
use minijinja::syntax::SyntaxConfig;
use minijinja::{Environment, filters as f};
use std::collections::BTreeSet;

type AddFilter = fn(&mut Environment<'static>, &'static str);

/// The filters that a template may use. Each of them ends in time linear in its input.
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
        ("join", |e, n| e.add_filter(n, f::join)),
        ("round", |e, n| e.add_filter(n, f::round)),
        ("int", |e, n| e.add_filter(n, f::int)),
    ]
}

const VARIABLES: [&str; 3] = ["name", "phone", "attributes"];

/// Finds the first error of a template.
pub(super) fn check(content: &str) -> Result<(), TemplateError> {
    let tree = parse(content, super::NAME, SyntaxConfig, WhitespaceConfig::default())
        .map_err(|error| error_at(content, &error))?;
    let mut checker = Checker { scopes: vec![VARIABLES.into_iter().collect()], depth: 0 };
    checker.statement(&tree)
}

/// An error of the engine with its place.
pub(super) fn error_at(content: &str, error: &minijinja::Error) -> TemplateError {
    let message = error.detail().map_or_else(|| error.kind().to_string(), str::to_owned);
    match error.range() {
        Some(range) => {
            let before = content.get(..range.start.min(content.len())).unwrap_or(content);
            let line_start = before.rfind('\n').map_or(0, |at| at + 1);
            TemplateError {
                line: number(before.matches('\n').count() + 1),
                column: number(before.get(line_start..).map_or(0, |line| line.chars().count()) + 1),
                message,
            }
        }
        None => TemplateError { line: error.line().map_or(1, number), column: 1, message },
    }
}

fn number(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

/// How deep a template may nest: the engine walks it recursively.
const MAX_DEPTH: usize = 40;

struct Checker<'a> {
    scopes: Vec<BTreeSet<&'a str>>,
    depth: usize,
}

type Checked = Result<(), TemplateError>;

fn refuse(span: Span, message: String) -> Checked {
    Err(TemplateError { line: u32::from(span.start_line).max(1), column: u32::from(span.start_col) + 1, message })
}

impl<'a> Checker<'a> {
    fn all(&mut self, statements: &[Stmt<'a>]) -> Checked {
        statements.iter().try_for_each(|statement| self.statement(statement))
    }

    fn statement(&mut self, statement: &Stmt<'a>) -> Checked {
        self.depth += 1;
        let checked = self.statement_here(statement);
        self.depth -= 1;
        checked
    }

    fn statement_here(&mut self, statement: &Stmt<'a>) -> Checked {
        match statement {
            Stmt::Template(t) => self.all(&t.children),
            Stmt::EmitExpr(e) => self.expr(&e.expr),
            Stmt::EmitRaw(_) => Ok(()),
            Stmt::ForLoop(s) if self.depth <= MAX_DEPTH => {
                self.expr(&s.iter)?;
                self.scopes.push(BTreeSet::from(["loop"]));
                self.bind(&s.target);
                let inner = s.filter_expr.iter().try_for_each(|e| self.expr(e)).and_then(|()| self.all(&s.body));
                self.scopes.pop();
                inner?;
                self.all(&s.else_body)
            }
            Stmt::IfCond(s) if self.depth <= MAX_DEPTH => {
                self.expr(&s.expr)?;
                self.all(&s.true_body)?;
                self.all(&s.false_body)
            }
            Stmt::Set(s) => {
                self.expr(&s.expr)?;
                self.bind(&s.target);
                Ok(())
            }
            Stmt::ForLoop(s) => refuse(s.span(), "nested too deeply".into()),
            Stmt::IfCond(s) => refuse(s.span(), "nested too deeply".into()),
            other => refuse(span_of(other), format!("{} is not allowed in a message", statement_name(other))),
        }
    }

    fn bind(&mut self, target: &Expr<'a>) {
        match target {
            Expr::Var(var) => {
                if let Some(scope) = self.scopes.last_mut() {
                    scope.insert(var.id);
                }
            }
            Expr::List(list) => list.items.iter().for_each(|item| self.bind(item)),
            _ => {}
        }
    }

    fn expr(&mut self, expr: &Expr<'a>) -> Checked {
        self.depth += 1;
        let checked = if self.depth > 4 * MAX_DEPTH {
            refuse(expr.span(), "nested too deeply".into())
        } else {
            self.expr_here(expr)
        };
        self.depth -= 1;
        checked
    }

    fn expr_here(&mut self, expr: &Expr<'a>) -> Checked {
        match expr {
            Expr::Var(var) => {
                if self.scopes.iter().any(|scope| scope.contains(var.id)) {
                    return Ok(());
                }
                let known = "there are name, phone and attributes";
                refuse(var.span(), format!("unknown variable {:?}; {known}", var.id))
            }
            Expr::Const(_) => Ok(()),
            Expr::Slice(e) => {
                self.expr(&e.expr)?;
                [&e.start, &e.stop, &e.step].into_iter().flatten().try_for_each(|e| self.expr(e))
            }
            Expr::UnaryOp(e) => self.expr(&e.expr),
            Expr::BinOp(e) => {
                self.expr(&e.left)?;
                self.expr(&e.right)
            }
            Expr::Compare(e) => {
                self.expr(&e.expr)?;
                e.ops.iter().try_for_each(|op| self.expr(&op.expr))
            }
            Expr::IfExpr(e) => {
                self.expr(&e.test_expr)?;
                self.expr(&e.true_expr)?;
                e.false_expr.iter().try_for_each(|e| self.expr(e))
            }
            Expr::Filter(e) => {
                e.expr.iter().try_for_each(|e| self.expr(e))?;
                if !filters().iter().any(|(name, _)| *name == e.name) {
                    return refuse(e.span(), format!("unknown filter {:?}", e.name));
                }
                e.args.iter().try_for_each(|arg| self.argument(arg))
            }
            Expr::Test(e) => refuse(e.span(), format!("unknown test {:?}", e.name)),
            Expr::GetAttr(e) => self.expr(&e.expr),
            Expr::GetItem(e) => {
                self.expr(&e.expr)?;
                self.expr(&e.subscript_expr)
            }
            Expr::Call(e) => refuse(e.span(), format!("a message cannot call functions ({})", describe(&e.expr))),
            Expr::List(e) => e.items.iter().try_for_each(|item| self.expr(item)),
            Expr::Map(e) => e.keys.iter().chain(&e.values).try_for_each(|item| self.expr(item)),
        }
    }

    fn argument(&mut self, argument: &minijinja::machinery::ast::CallArg<'a>) -> Checked {
        use minijinja::machinery::ast::CallArg;
        match argument {
            CallArg::Pos(e) | CallArg::Kwarg(_, e) | CallArg::PosSplat(e) | CallArg::KwargSplat(e) => self.expr(e),
        }
    }
}

fn describe(expr: &Expr<'_>) -> String {
    match expr {
        Expr::Var(var) => var.id.to_owned(),
        Expr::GetAttr(attr) => attr.name.to_owned(),
        _ => expr.description().to_owned(),
    }
}

fn span_of(statement: &Stmt<'_>) -> Span {
    fn of<T>(spanned: &Spanned<T>) -> Span {
        spanned.span()
    }
    match statement {
        Stmt::Template(s) => of(s),
        Stmt::EmitExpr(s) => of(s),
        Stmt::EmitRaw(s) => of(s),
        Stmt::ForLoop(s) => of(s),
        Stmt::IfCond(s) => of(s),
        Stmt::WithBlock(s) => of(s),
        Stmt::Set(s) => of(s),
        Stmt::SetBlock(s) => of(s),
        Stmt::AutoEscape(s) => of(s),
        Stmt::FilterBlock(s) => of(s),
        Stmt::Do(s) => of(s),
        #[allow(unreachable_patterns, reason = "the engine's further statements depend on its features")]
        _ => Span::default(),
    }
}

fn statement_name(statement: &Stmt<'_>) -> &'static str {
    match statement {
        Stmt::WithBlock(_) => "with",
        Stmt::SetBlock(_) => "a set block",
        Stmt::AutoEscape(_) => "autoescape",
        Stmt::FilterBlock(_) => "a filter block",
        Stmt::Do(_) => "do",
        _ => "this statement",
    }
}
