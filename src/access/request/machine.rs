//! The life of a request: what may happen to it, and who may do it. Knows nothing of PostgreSQL.
//!
//! Promises: a request is decided once. Nobody approves his own, nor twice, nor through a second account;
//! two approvers are two people, one for each required group; what has expired cannot be decided.

use crate::access::subject::Subject;

/// Where a request stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    Pending,
    Granted,
    Rejected,
    Cancelled,
    Expired,
}

impl State {
    pub const ALL: [Self; 5] = [Self::Pending, Self::Granted, Self::Rejected, Self::Cancelled, Self::Expired];

    /// The word in the table.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Granted => "granted",
            Self::Rejected => "rejected",
            Self::Cancelled => "cancelled",
            Self::Expired => "expired",
        }
    }

    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.word() == word)
    }
}

/// Who decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    Automatic,
    /// One member of any of the groups.
    One,
    /// A member of each of two groups, which may be the same.
    Two,
}

impl Decision {
    pub const ALL: [Self; 3] = [Self::Automatic, Self::One, Self::Two];

    /// The word in rules.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Automatic => "automatic",
            Self::One => "one approver",
            Self::Two => "two approvers",
        }
    }

    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|decision| decision.word() == word)
    }
}

/// Why somebody may not do that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// It is not pending any more.
    Decided(State),
    /// It is his own, or that of another account of his.
    Own,
    /// He has decided already, perhaps by another account.
    Again,
    /// He is in none of the groups.
    NotAnApprover,
    /// Only who asked can withdraw.
    NotTheAsker,
}

/// An approval.
#[derive(Debug, Clone)]
pub struct Vote {
    pub who: Subject,
    /// Those of the required groups that he was in.
    pub groups: Vec<String>,
}

/// What an approval led to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// Somebody else has to approve it, too.
    Waiting,
    Granted,
}

/// A request, as it was when its row was locked.
#[derive(Debug, Clone)]
pub struct Request {
    pub asker: Subject,
    pub decision: Decision,
    pub groups: Vec<String>,
    /// Microseconds since 2000, as `now` everywhere here.
    pub expires_at: i64,
    pub state: State,
    pub approvals: Vec<Vote>,
}

impl Request {
    fn pending(&self, now: i64) -> Result<(), Refusal> {
        match self.state {
            State::Pending if now >= self.expires_at => Err(Refusal::Decided(State::Expired)),
            State::Pending => Ok(()),
            state => Err(Refusal::Decided(state)),
        }
    }

    /// The required groups that somebody with these groups stands for.
    pub fn standing(&self, groups: &[String]) -> Vec<String> {
        let mut standing = self.groups.clone();
        standing.retain(|group| groups.contains(group));
        standing.dedup();
        standing
    }

    /// Whether `who`, in these groups, may decide on it now.
    fn judge(&self, who: &Subject, groups: &[String], now: i64) -> Result<Vec<String>, Refusal> {
        self.pending(now)?;
        if self.asker.is_same(who) {
            return Err(Refusal::Own);
        }
        let standing = self.standing(groups);
        if standing.is_empty() {
            return Err(Refusal::NotAnApprover);
        }
        if self.approvals.iter().any(|vote| vote.who.is_same(who)) {
            return Err(Refusal::Again);
        }
        Ok(standing)
    }

    /// `who` says yes.
    pub fn approve(&mut self, who: &Subject, groups: &[String], now: i64) -> Result<Progress, Refusal> {
        let groups = self.judge(who, groups, now)?;
        self.approvals.push(Vote { who: who.clone(), groups });
        if !self.is_approved() {
            return Ok(Progress::Waiting);
        }
        self.state = State::Granted;
        Ok(Progress::Granted)
    }

    /// `who` says no, which ends it.
    pub fn reject(&mut self, who: &Subject, groups: &[String], now: i64) -> Result<(), Refusal> {
        self.judge(who, groups, now).or_else(|why| match why {
            // Whoever has approved may think again while others have not.
            Refusal::Again => Ok(Vec::new()),
            why => Err(why),
        })?;
        self.state = State::Rejected;
        Ok(())
    }

    /// `who` withdraws it.
    pub fn cancel(&mut self, who: &Subject, now: i64) -> Result<(), Refusal> {
        if !self.asker.is_account(who) {
            return Err(Refusal::NotTheAsker);
        }
        self.pending(now)?;
        self.state = State::Cancelled;
        Ok(())
    }

    /// Whether those who approved are enough: one, or two that can stand for one group each.
    fn is_approved(&self) -> bool {
        match (self.decision, self.groups.as_slice()) {
            (Decision::Automatic, _) => true,
            (Decision::One, _) => !self.approvals.is_empty(),
            (Decision::Two, [first, second]) => self.approvals.iter().enumerate().any(|(at, one)| {
                one.groups.contains(first)
                    && self
                        .approvals
                        .iter()
                        .enumerate()
                        .any(|(place, other)| place != at && other.groups.contains(second))
            }),
            (Decision::Two, _) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    /// Six accounts of four humans: 0 and 4 are one by address, 1 and 5 by name.
    const HUMANS: [usize; 6] = [0, 1, 2, 3, 0, 1];

    fn account(number: usize) -> Subject {
        let human = HUMANS[number];
        let user_id = if number == 4 { "other".to_owned() } else { format!("user{human}") };
        let email = if number == 5 { "five@x".to_owned() } else { format!("User{human}@x") };
        let issuer = if number < 4 { "one" } else { "two" };
        let email = if number == 4 { email.to_uppercase() } else { email };
        Subject { issuer: issuer.into(), user_id, email: Some(email), claim: None }
    }

    fn names(bits: u8) -> Vec<String> {
        let all = ["peer", "manager", "other"];
        (0..3).filter(|bit| bits & 1 << bit != 0).map(|bit| all[bit].to_owned()).collect()
    }

    /// xorshift64*: the same lives at each run, so that a failure can be looked into.
    struct Dice(u64);

    impl Dice {
        fn below(&mut self, sides: u64) -> usize {
            self.0 ^= self.0 >> 12;
            self.0 ^= self.0 << 25;
            self.0 ^= self.0 >> 27;
            (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % sides as usize
        }
    }

    #[derive(Debug, Clone)]
    enum Step {
        Approve(usize, u8),
        Reject(usize, u8),
        Cancel(usize),
        Wait(i64),
    }

    fn step(dice: &mut Dice) -> Step {
        let (who, groups) = (dice.below(6), dice.below(8) as u8);
        match dice.below(10) {
            0..6 => Step::Approve(who, groups),
            6 => Step::Reject(who, groups),
            7 => Step::Cancel(who),
            _ => Step::Wait(dice.below(5) as i64),
        }
    }

    fn required(decision: Decision, same: bool) -> Vec<String> {
        match (decision, same) {
            (Decision::Automatic, _) => vec![],
            (_, true) => vec!["peer".into(), "peer".into()],
            (_, false) => vec!["peer".into(), "manager".into()],
        }
    }

    /// The model knows humans by number and keeps sets; it shares no code with the machine.
    #[test]
    fn random_lives_of_requests_follow_the_model() {
        let mut ends = [0; 5];
        for life in 1..=20_000 {
            let mut dice = Dice(life);
            let asker = dice.below(6);
            let (two, same) = (dice.below(2) == 1, dice.below(2) == 1);
            let decision = if two { Decision::Two } else { Decision::One };
            let groups = required(decision, same);
            let mut request = Request {
                asker: account(asker),
                decision,
                groups: groups.clone(),
                expires_at: 12,
                state: State::Pending,
                approvals: vec![],
            };
            let (mut now, mut state) = (0, State::Pending);
            let mut said: Vec<(usize, BTreeSet<String>)> = vec![];
            for _ in 0..=dice.below(24) {
                let step = step(&mut dice);
                let at = format!("life {life}, {step:?} at {now} of {request:?}");
                let open = state == State::Pending && now < 12;
                let may = |who: usize, bits: u8| {
                    open && HUMANS[who] != HUMANS[asker]
                        && names(bits).iter().any(|group| groups.contains(group))
                };
                match step {
                    Step::Wait(time) => now += time,
                    Step::Approve(who, bits) => {
                        let fresh = !said.iter().any(|(human, _)| *human == HUMANS[who]);
                        let told = request.approve(&account(who), &names(bits), now);
                        assert_eq!(told.is_ok(), may(who, bits) && fresh, "{at}: {told:?}");
                        if told.is_ok() {
                            said.push((HUMANS[who], names(bits).into_iter().collect()));
                            let enough = !two
                                || said.iter().any(|(one, a)| {
                                    said.iter().any(|(other, b)| {
                                        one != other && a.contains(&groups[0]) && b.contains(&groups[1])
                                    })
                                });
                            assert_eq!(told == Ok(Progress::Granted), enough, "{at}");
                            if enough {
                                state = State::Granted;
                            }
                        }
                    }
                    Step::Reject(who, bits) => {
                        let told = request.reject(&account(who), &names(bits), now);
                        assert_eq!(told.is_ok(), may(who, bits), "{at}: {told:?}");
                        if told.is_ok() {
                            state = State::Rejected;
                        }
                    }
                    Step::Cancel(who) => {
                        let told = request.cancel(&account(who), now);
                        assert_eq!(told.is_ok(), open && who == asker, "{at}: {told:?}");
                        if told.is_ok() {
                            state = State::Cancelled;
                        }
                    }
                }
                assert_eq!(request.state, state, "{at}");
            }
            ends[state as usize] += 1;
        }
        let lived = [State::Pending, State::Granted, State::Rejected, State::Cancelled];
        assert!(lived.iter().all(|state| ends[*state as usize] > 500), "they end alike: {ends:?}");
    }

    fn request(decision: Decision, groups: &[&str]) -> Request {
        Request {
            asker: account(0),
            decision,
            groups: groups.iter().map(|group| (*group).to_owned()).collect(),
            expires_at: 100,
            state: State::Pending,
            approvals: vec![],
        }
    }

    #[test]
    fn two_who_are_in_both_groups_stand_for_one_each() {
        let both = ["peer".to_owned(), "manager".to_owned()];
        let mut dual = request(Decision::Two, &["peer", "manager"]);
        assert_eq!(dual.approve(&account(1), &both, 0), Ok(Progress::Waiting));
        assert_eq!(dual.approve(&account(1), &both, 0), Err(Refusal::Again));
        assert_eq!(dual.approve(&account(5), &both, 0), Err(Refusal::Again), "the second account");
        // The first one's groups count for whichever is left.
        assert_eq!(dual.approve(&account(2), &both[..1], 0), Ok(Progress::Granted));
        assert_eq!(dual.approve(&account(3), &both, 0), Err(Refusal::Decided(State::Granted)));
    }

    #[test]
    fn two_of_one_group_do_not_stand_for_the_other() {
        let peer = ["peer".to_owned()];
        let mut dual = request(Decision::Two, &["peer", "manager"]);
        assert_eq!(dual.approve(&account(1), &peer, 0), Ok(Progress::Waiting));
        assert_eq!(dual.approve(&account(2), &peer, 0), Ok(Progress::Waiting));
        assert_eq!(dual.approve(&account(3), &["manager".to_owned()], 0), Ok(Progress::Granted));
    }

    #[test]
    fn the_moment_of_expiry_is_too_late() {
        let group = ["dba".to_owned()];
        assert_eq!(request(Decision::One, &["dba"]).approve(&account(1), &group, 99), Ok(Progress::Granted));
        let mut late = request(Decision::One, &["dba"]);
        assert_eq!(late.approve(&account(1), &group, 100), Err(Refusal::Decided(State::Expired)));
        assert_eq!(late.cancel(&account(0), 100), Err(Refusal::Decided(State::Expired)));
        assert_eq!(late.cancel(&account(4), 0), Err(Refusal::NotTheAsker), "only the account that asked");
    }

    #[test]
    fn words_are_read_back() {
        for state in State::ALL {
            assert_eq!(State::parse(state.word()), Some(state));
        }
        for decision in Decision::ALL {
            assert_eq!(Decision::parse(decision.word()), Some(decision));
        }
    }
}
