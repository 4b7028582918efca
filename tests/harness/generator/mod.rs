//! Random statements over the tables of `tests/masking_shapes/setup.sql`, typed, so that nearly all of them run.
//!
//! A statement is made of a list of choices: the same list makes the same statement, 0 is the simplest choice
//! everywhere, and a list that is too short goes on with zeros. So a statement is made smaller by making its list smaller.
//!
//! What order or plan an answer depends on is left out: LIMIT comes with an order over all columns, aggregates that
//! know an order get one, sums are exact. Expressions raise no errors, unless [`Choices::risky`] says so: which row
//! raises first depends on the plan.

mod expression;
mod tables;

use super::load::Dice;
use tables::{RELATIONS, WRITTEN};

pub struct Choices {
    list: Vec<u32>,
    at: usize,
    dice: Option<Dice>,
    pub risky: bool,
    /// How many more subqueries there may be: statements shall end some day.
    left: u32,
    aliases: u32,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    Int,
    Num,
    Text,
    Bool,
    Date,
    Json,
    Inet,
}
use Kind::*;

type Named = (String, Kind);

/// What can stand in an expression: names with their types.
#[derive(Clone, Default)]
struct Scope {
    columns: Vec<Named>,
    /// Names of whole rows.
    rows: Vec<String>,
}

impl Choices {
    pub fn random(seed: u64, risky: bool) -> Self {
        Self { dice: Some(Dice(seed | 1)), ..Self::again(Vec::new(), risky) }
    }

    pub fn again(list: Vec<u32>, risky: bool) -> Self {
        Self { list, at: 0, dice: None, risky, left: 6, aliases: 0 }
    }

    pub fn taken(&self) -> &[u32] {
        &self.list[..self.at.min(self.list.len())]
    }

    /// One of `of`, 0 the simplest.
    fn pick(&mut self, of: usize) -> usize {
        if self.at == self.list.len()
            && let Some(dice) = &mut self.dice
        {
            self.list.push(u32::try_from(dice.roll(1 << 20)).unwrap());
        }
        let choice = self.list.get(self.at).copied().unwrap_or(0);
        self.at += 1;
        choice as usize % of
    }

    /// Once in `of` times.
    fn rarely(&mut self, of: usize) -> bool {
        self.pick(of) == of - 1
    }

    fn one<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.pick(of.len())]
    }

    fn alias(&mut self) -> String {
        self.aliases += 1;
        format!("r{}", self.aliases)
    }

    fn subquery(&mut self) -> bool {
        self.left = self.left.saturating_sub(1);
        self.left > 0
    }

    /// One relation of the schema under a new name.
    fn relation(&mut self) -> (String, Scope) {
        let (name, columns) = RELATIONS[self.pick(RELATIONS.len())];
        let alias = self.alias();
        (
            format!("{name} as {alias}"),
            Scope::of(&alias, columns.iter().map(|(name, kind)| (name.to_string(), *kind)).collect()),
        )
    }

    fn item(&mut self, depth: u32) -> (String, Scope) {
        if depth > 0 && self.rarely(5) && self.subquery() {
            let (query, columns) = self.select(depth - 1, &Scope::default());
            let alias = self.alias();
            (format!("({query}) as {alias}"), Scope::of(&alias, columns))
        } else {
            self.relation()
        }
    }

    fn from(&mut self, depth: u32, outer: &Scope) -> (String, Scope) {
        let (mut from, mut scope) = self.item(depth);
        for _ in 0..[0, 0, 1, 1, 2][self.pick(5)] {
            if self.rarely(6) && self.subquery() {
                let (inner, columns) = self.select(depth.saturating_sub(1), &scope);
                let alias = self.alias();
                from = format!("{from} left join lateral ({inner}) as {alias} on true");
                scope = Scope::of(&alias, columns).over(&scope);
                continue;
            }
            let (other, its) = self.item(depth);
            let join = self.one(&["join", "left join", "right join", "full join"]);
            // A full join wants an equality that can be hashed or merged, unless the planner makes another join of it.
            let kind = [Int, Text][self.pick(2)];
            let equal = format!("{} = {}", self.column(&scope, kind), self.column(&its, kind));
            scope = its.over(&scope);
            let on = match join {
                "full join" if !self.rarely(8) => equal,
                _ if self.rarely(3) => self.condition(&scope, 1),
                _ => equal,
            };
            from = format!("{from} {join} {other} on {on}");
        }
        (from, scope.over(outer))
    }

    /// A query and its columns.
    fn select(&mut self, depth: u32, outer: &Scope) -> (String, Vec<Named>) {
        if depth > 0 && self.rarely(9) && self.subquery() {
            return self.set_operation(depth - 1);
        }
        let (from, scope) = self.from(depth, outer);
        let filter = match self.pick(3) {
            0 => String::new(),
            _ => format!(" where {}", self.condition(&scope, depth.min(2))),
        };
        let kinds: Vec<Kind> = (0..1 + self.pick(3)).map(|_| self.kind()).collect();
        // In LATERAL an aggregate of outer columns would be the outer query's.
        let shape = self.pick(if outer.columns.is_empty() { 7 } else { 3 });
        let mut tail = String::new();
        let shown: Vec<String> = match shape {
            3 | 4 => {
                let keys: Vec<String> = kinds.iter().map(|kind| self.expression(&scope, *kind, 1)).collect();
                let positions: Vec<String> = (1..=keys.len()).map(|at| at.to_string()).collect();
                let grouping = match self.pick(4) {
                    1 => format!("rollup ({})", keys.join(", ")),
                    2 => format!("cube ({})", keys.join(", ")),
                    3 => format!("grouping sets (({}), ())", keys.join(", ")),
                    _ => positions.join(", "),
                };
                // A constant as a key would be a position.
                let bare = keys.iter().any(|key| !names_a_column(key));
                tail = format!(" group by {}", if bare { positions.join(", ") } else { grouping });
                if self.rarely(4) {
                    tail = format!("{tail} having {} > 1", self.aggregate(&scope));
                }
                let aggregate = self.aggregate(&scope);
                keys.into_iter().chain([aggregate]).collect()
            }
            5 => {
                let over = self.window(&scope);
                let mut shown: Vec<String> =
                    kinds.iter().map(|kind| self.expression(&scope, *kind, 1)).collect();
                shown.push(over);
                shown
            }
            _ => kinds.iter().map(|kind| self.expression(&scope, *kind, depth.min(2))).collect(),
        };
        let mut columns: Vec<Named> =
            kinds.iter().enumerate().map(|(at, kind)| (format!("c{}", at + 1), *kind)).collect();
        if shown.len() > columns.len() {
            columns.push((format!("c{}", shown.len()), Int));
        }
        let list: Vec<String> =
            shown.iter().zip(&columns).map(|(shown, (name, _))| format!("{shown} as {name}")).collect();
        let distinct = if shape == 6 { "distinct " } else { "" };
        let positions: Vec<String> = (1..=columns.len()).map(|at| at.to_string()).collect();
        let limit = match self.pick(6) {
            5 => format!(" order by {} limit {}", positions.join(", "), 1 + self.pick(5)),
            4 => format!(" order by {} desc offset {}", positions.join(" desc, "), self.pick(5)),
            _ => String::new(),
        };
        (format!("select {distinct}{} from {from}{filter}{tail}{limit}", list.join(", ")), columns)
    }

    fn set_operation(&mut self, depth: u32) -> (String, Vec<Named>) {
        let kind = self.kind();
        let half = |choices: &mut Self| {
            let (from, scope) = choices.from(depth, &Scope::default());
            let (a, b) = (choices.expression(&scope, kind, 1), choices.expression(&scope, Text, 1));
            let condition = choices.condition(&scope, 1);
            format!("select {a} as c1, {b} as c2 from {from} where {condition}")
        };
        let (left, right) = (half(self), half(self));
        let operator = self.one(&["union", "union all", "intersect", "except", "except all"]);
        (format!("{left} {operator} {right}"), vec![("c1".into(), kind), ("c2".into(), Text)])
    }

    /// A statement that changes something.
    fn write(&mut self) -> String {
        let (table, plain, masked) = WRITTEN[self.pick(WRITTEN.len())];
        let (_, columns) = RELATIONS.iter().find(|(name, _)| *name == table).unwrap();
        let scope = Scope::of("t", columns.iter().map(|(name, kind)| (name.to_string(), *kind)).collect());
        let set = match self.pick(4) {
            0 | 1 => self.one(plain).to_string(),
            2 => self.one(masked).to_string(),
            // Taken from what may be masked: either it is refused, or nothing masked was in it.
            _ if self.risky => {
                format!("{} = {}", plain[0].split_once(" =").unwrap().0, self.expression(&scope, Text, 2))
            }
            _ => self.one(masked).to_string(),
        };
        let condition = self.condition(&scope, 2);
        let shown: Vec<String> = (0..1 + self.pick(3))
            .map(|_| {
                let kind = self.kind();
                self.expression(&scope, kind, 1)
            })
            .collect();
        let shown = shown.join(", ");
        match self.pick(6) {
            0 | 1 => format!("update {table} as t set {set} where {condition} returning {shown}"),
            2 => {
                let (from, other) = self.relation();
                let both = self.condition(&other.over(&scope), 2);
                format!("update {table} as t set {set} from {from} where {both} and {condition} returning t.id")
            }
            3 => format!("delete from {table} as t where {condition} returning {shown}"),
            4 => {
                let (query, _) = self.select(1, &Scope::default());
                format!("with w as (update {table} as t set {set} where {condition} returning {shown}) select count(*), (select count(*) from ({query}) as q) from w")
            }
            _ => format!(
                "insert into customers as t (id, name, joined) select {} + n, 'written', '2025-01-01' from generate_series(1, 3) as n
                 on conflict (id) do update set name = 'again' where {} returning t.id, t.email, t.ssn",
                self.one(&["100", "5", "22"]),
                if table == "customers" { condition } else { "t.email > 'c'".into() }
            ),
        }
    }

    pub fn statement(&mut self) -> String {
        if self.rarely(5) {
            return self.write();
        }
        let with = self.rarely(8);
        let mut before = String::new();
        if with {
            let (query, _) = self.select(1, &Scope::default());
            before = format!("with w as {}({query}) ", self.one(&["", "materialized ", "not materialized "]));
        }
        let (query, _) = self.select(2, &Scope::default());
        match with {
            true => format!(
                "{before}select (select count(*) from w), w.*, q.* from w full join ({query}) as q on w.c1::text = q.c1::text"
            ),
            false => query,
        }
    }
}

impl Scope {
    fn of(alias: &str, columns: Vec<Named>) -> Self {
        Self {
            columns: columns.into_iter().map(|(name, kind)| (format!("{alias}.{name}"), kind)).collect(),
            // A set-returning function's or subquery's alias names its row, too.
            rows: vec![alias.into()],
        }
    }

    /// This one's names, and behind them the other's.
    fn over(mut self, outer: &Self) -> Self {
        self.columns.extend(outer.columns.iter().cloned());
        self.rows.extend(outer.rows.iter().cloned());
        self
    }
}

/// Whether an expression has a column or row in it: their names begin with r and a number.
fn names_a_column(expression: &str) -> bool {
    expression.as_bytes().windows(2).any(|pair| pair[0] == b'r' && pair[1].is_ascii_digit())
}

/// The table that a statement writes to, and whether what is masked there stays as different as it was.
pub fn written(statement: &str) -> Option<(&'static str, bool)> {
    if !statement.contains("returning") {
        return None;
    }
    let verbs = ["update ", "delete from ", "insert into "];
    let (table, _, masked) = WRITTEN
        .iter()
        .find(|(table, ..)| verbs.iter().any(|verb| statement.contains(&format!("{verb}{table} as t"))))?;
    let stays = !statement.contains("delete from") && !masked.iter().any(|set| statement.contains(set));
    Some((if ["contacts", "guarded"].contains(table) { "customers" } else { table }, stays))
}

/// The smallest list of choices that still goes wrong.
pub fn shrink(list: &[u32], risky: bool, mut wrong: impl FnMut(&str) -> bool) -> String {
    let statement = |list: &[u32]| Choices::again(list.to_vec(), risky).statement();
    let (mut best, mut tries) = (list.to_vec(), 600);
    let mut attempt = |candidate: Vec<u32>, best: &mut Vec<u32>| {
        tries -= 1;
        let better = tries > 0
            && statement(&candidate) != statement(best)
            && statement(&candidate).len() <= statement(best).len()
            && wrong(&statement(&candidate));
        if better {
            *best = candidate;
        }
        better
    };
    loop {
        let before = best.clone();
        for size in [16, 8, 4, 2, 1] {
            let mut at = 0;
            while at + size <= best.len() {
                let mut without = best.clone();
                without.drain(at..at + size);
                let mut zeroed = best.clone();
                zeroed[at..at + size].fill(0);
                if !attempt(without, &mut best) && !attempt(zeroed, &mut best) {
                    at += size;
                }
            }
        }
        if before == best {
            return statement(&best);
        }
    }
}
