//! Expressions of a type.

use super::Kind::{self, *};
use super::{Choices, Named, Scope};

impl Choices {
    pub(super) fn literal(&mut self, kind: Kind) -> String {
        match kind {
            Int => self.one(&["1", "0", "3", "-2", "7", "77311", "12"]).into(),
            Num => self.one(&["1.5", "0.0", "78731.5", "40.25", "-3.75"]).into(),
            // True values, their masks, and what lies between.
            Text => self
                .one(&[
                    "'a'",
                    "'DE89****0021'",
                    "'GB29SECRET200140021'",
                    "'91-55-5031'",
                    "'ada.b***@example.com'",
                    "'bda.cinter2@example.com'",
                    "'Turin'",
                    "'****-1111'",
                    "'4000-1013-SECRET-2222'",
                    "'vis*'",
                    "''",
                    "'M'",
                    "'member-1-secret'",
                ])
                .into(),
            Bool => self.one(&["true", "false"]).into(),
            Date => self.one(&["date '2024-06-01'", "date '1961-04-05'", "date '2025-02-11'"]).into(),
            Json => self.one(&["'{}'::jsonb", "'{\"level\": 1}'::jsonb", "'[1, \"a\"]'::jsonb"]).into(),
            Inet => self.one(&["inet '10.77.1.3'", "inet '10.0.0.0/8'"]).into(),
        }
    }

    pub(super) fn column(&mut self, scope: &Scope, kind: Kind) -> String {
        let fitting: Vec<&Named> = scope.columns.iter().filter(|column| column.1 == kind).collect();
        match fitting.len() {
            0 => self.literal(kind),
            count => fitting[self.pick(count)].0.clone(),
        }
    }

    pub(super) fn kind(&mut self) -> Kind {
        [Text, Int, Bool, Num, Date, Json, Inet][self.pick(7)]
    }

    pub(super) fn expression(&mut self, scope: &Scope, kind: Kind, depth: u32) -> String {
        if depth == 0 {
            return self.column(scope, kind);
        }
        match self.pick(9) {
            0..=2 => self.column(scope, kind),
            3 => self.literal(kind),
            4 => {
                let condition = self.condition(scope, depth - 1);
                let (a, b) =
                    (self.expression(scope, kind, depth - 1), self.expression(scope, kind, depth - 1));
                format!("case when {condition} then {a} else {b} end")
            }
            5 => {
                let (a, b) = (self.expression(scope, kind, depth - 1), self.literal(kind));
                let function = self.one(&["coalesce", "nullif"]);
                format!("{function}({a}, {b})")
            }
            6 if kind != Json && kind != Bool && self.subquery() => {
                self.scalar_subquery(scope, kind, depth - 1)
            }
            7 if self.risky => self.risky_expression(scope, kind, depth - 1),
            _ => self.call(scope, kind, depth - 1),
        }
    }

    pub(super) fn call(&mut self, scope: &Scope, kind: Kind, depth: u32) -> String {
        let mut of = |kind: Kind| self.expression(scope, kind, depth);
        match kind {
            Int => {
                let (text, a, b, date) = (of(Text), of(Int), of(Int), of(Date));
                let calls = [
                    format!("length({text})"),
                    format!("({a} - {b})"),
                    format!("abs({a} % 1000)"),
                    format!("({a} / nullif({b}, 0))"),
                    format!("extract(year from {date})::int"),
                    format!("ascii({text})"),
                    // Small: whether a sum of theirs is out of range must not depend on which rows are looked at.
                    format!("(hashtext({text}) % 100000)"),
                ];
                calls[self.pick(calls.len())].clone()
            }
            Num => {
                let (a, b, i) = (of(Num), of(Num), of(Int));
                let calls = [
                    format!("({a} + {b})"),
                    format!("round({a}, 1)"),
                    format!("({i} * 1.5)"),
                    format!("abs({a})"),
                ];
                calls[self.pick(calls.len())].clone()
            }
            Text => {
                let (a, b, i, date, json) = (of(Text), of(Text), of(Int), of(Date), of(Json));
                let row = if scope.rows.is_empty() {
                    a.clone()
                } else {
                    scope.rows[self.pick(scope.rows.len())].clone()
                };
                let calls = [
                    format!("upper({a})"),
                    format!("({a} || {b})"),
                    format!("left({a}, 6)"),
                    format!("md5({a})"),
                    format!("{i}::text"),
                    format!("to_char({date}, 'YYYY-MM')"),
                    format!("({json})::text"),
                    format!("reverse({a})"),
                    format!("replace({a}, '*', {b})"),
                    format!("format('%s-%L', {a}, {b})"),
                    format!("({row})::text"),
                    format!("twice({a})"),
                    format!("email_of({i})"),
                    format!("row({a}, {b})::text"),
                    format!("array_to_string(array[{a}, {b}], ',')"),
                    format!("concat({a}, {b})"),
                    format!("plpgsql_email({i})"),
                    format!("definer({i})"),
                    format!("email_of_immutable({i})"),
                ];
                calls[self.pick(calls.len())].clone()
            }
            Bool => self.condition(scope, depth),
            Date => {
                let (a, i) = (of(Date), of(Int));
                format!("({a} + {i} % 500)")
            }
            Json => {
                let (a, i) = (of(Text), of(Int));
                let row = if scope.rows.is_empty() {
                    a.clone()
                } else {
                    scope.rows[self.pick(scope.rows.len())].clone()
                };
                let calls = [
                    format!("to_jsonb({a})"),
                    format!("jsonb_build_object('a', {a}, 'i', {i})"),
                    format!("to_jsonb({row})"),
                ];
                calls[self.pick(calls.len())].clone()
            }
            Inet => {
                let (a, i) = (of(Inet), of(Int));
                format!("({a} + {i} % 100)")
            }
        }
    }

    pub(super) fn risky_expression(&mut self, scope: &Scope, kind: Kind, depth: u32) -> String {
        let (a, i) = (self.expression(scope, Text, depth), self.expression(scope, Int, depth));
        match kind {
            Int => [
                format!("({a})::int"),
                format!("(10 / (length({a}) - 12))"),
                format!("pg_column_size({a})"),
                format!("(1 / {i})"),
            ][self.pick(4)]
            .clone(),
            Num => [format!("({a})::numeric"), format!("(1.0 / {i})")][self.pick(2)].clone(),
            Text => [
                format!("({a})::address::text"),
                format!("repeat({a}, {i} % 3 - 1)"),
                format!("({a})::uuid::text"),
                format!("(({a})::mood)::text"),
                format!("(select {a} from customers where id < 3)"),
            ][self.pick(5)]
            .clone(),
            Bool => [format!("({a})::bool"), format!("'x' ~ {a}")][self.pick(2)].clone(),
            Date => format!("({a})::date"),
            Json => format!("({a})::jsonb"),
            Inet => format!("({a})::inet"),
        }
    }

    pub(super) fn condition(&mut self, scope: &Scope, depth: u32) -> String {
        let kind = self.kind();
        let kind = if kind == Bool { Text } else { kind };
        let a = self.expression(scope, kind, depth);
        let choice = self.pick(13);
        match choice {
            1 => format!("{a} is null"),
            2 => format!("{a} is not null"),
            3 | 4 => {
                let text = self.expression(scope, Text, depth);
                let pattern = self.one(&["'a%'", "'%1%'", "'%SECRET%'", "'%*%'", "'DE%'", "'____'"]);
                format!("{text} {}like {pattern}", if choice == 3 { "" } else { "not " })
            }
            5 => format!("{a} in ({}, {})", self.literal(kind), self.literal(kind)),
            6 => format!("{a} between {} and {}", self.literal(kind), self.expression(scope, kind, depth)),
            7 if depth > 0 => {
                format!("({} and {})", self.condition(scope, depth - 1), self.condition(scope, depth - 1))
            }
            8 if depth > 0 => {
                format!("({} or not {})", self.condition(scope, depth - 1), self.condition(scope, depth - 1))
            }
            9 if depth > 0 && self.subquery() => {
                let (from, inner) = self.relation();
                let both = inner.over(scope);
                let condition = self.condition(&both, depth - 1);
                format!("{}exists (select from {from} where {condition})", self.one(&["", "not "]))
            }
            10 if depth > 0 && self.subquery() => {
                let (from, inner) = self.relation();
                let x = self.expression(&inner, kind, 1);
                let condition = self.condition(&inner.over(scope), depth - 1);
                format!("{a} {}in (select {x} from {from} where {condition})", self.one(&["", "not "]))
            }
            11 => {
                let (b, c, d) =
                    (self.expression(scope, Int, 0), self.expression(scope, kind, 0), self.literal(Int));
                format!("({a}, {b}) {} ({c}, {d})", self.one(&["<", "=", ">="]))
            }
            _ => {
                let operator = self.one(&["=", "<>", "<", ">", "is distinct from"]);
                format!("{a} {operator} {}", self.expression(scope, kind, depth))
            }
        }
    }

    pub(super) fn scalar_subquery(&mut self, scope: &Scope, kind: Kind, depth: u32) -> String {
        let (from, inner) = self.relation();
        let x = self.expression(&inner, kind, 1);
        let condition = self.condition(&inner.over(scope), depth);
        let least = self.one(&["min", "max"]);
        format!("(select {least}({x}) from {from} where {condition})")
    }

    pub(super) fn aggregate(&mut self, scope: &Scope) -> String {
        let (text, number, int) =
            (self.expression(scope, Text, 1), self.expression(scope, Num, 1), self.expression(scope, Int, 0));
        let filter = if self.rarely(4) {
            format!(" filter (where {})", self.condition(scope, 1))
        } else {
            String::new()
        };
        let calls = [
            "count(*)".to_string(),
            format!("count({text})"),
            format!("count(distinct {text})"),
            format!("sum({int}) % 1000003"),
            format!("length(string_agg({text}, ',' order by {text}))"),
            format!("sum({number}) % 1000003"),
            format!("length(max({text}))"),
            format!("cardinality(array_agg({int} order by {int}))"),
        ];
        let call = &calls[self.pick(calls.len())];
        let filter = if call.starts_with("count") { filter } else { String::new() };
        format!("({call}{filter})::int")
    }

    pub(super) fn window(&mut self, scope: &Scope) -> String {
        let (by, order) = (self.expression(scope, Text, 1), self.expression(scope, Text, 1));
        let function = self.one(&["count(*)", "rank()", "dense_rank()"]);
        format!("({function} over (partition by {by} order by {order}))::int")
    }
}
