//! Which answer follows which user text.

use super::reply::Reply;
use super::request::{Kind, Request};

/// The rules of a model, first match wins. What no rule knows is answered with `done`.
#[derive(Clone, Debug, Default)]
pub struct Script {
    rules: Vec<Rule>,
}

#[derive(Clone, Debug)]
struct Rule {
    when: When,
    steps: Vec<Reply>,
    /// The turn that used up a rule for one turn; it keeps the rule for its later steps.
    once: Option<Option<String>>,
}

#[derive(Clone, Debug)]
enum When {
    UserText(String),
    Compaction,
}

impl Script {
    /// A model that answers `done` to everything.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Turns whose last user text contains `text` go through these steps: the first reply answers
    /// the text, each further one the output of the tool that the reply before called. A turn that
    /// goes on beyond the last step gets `done`, so that every turn ends.
    #[must_use]
    pub fn on(self, text: &str, steps: impl IntoIterator<Item = Reply>) -> Self {
        self.rule(When::UserText(text.to_owned()), steps, None)
    }

    /// The same for the first such turn only; later ones go to the rules after it.
    #[must_use]
    pub fn once(self, text: &str, steps: impl IntoIterator<Item = Reply>) -> Self {
        self.rule(When::UserText(text.to_owned()), steps, Some(None))
    }

    /// What a request for a summary of the conversation gets; without it, a short summary.
    #[must_use]
    pub fn on_compaction(self, reply: Reply) -> Self {
        self.rule(When::Compaction, [reply], None)
    }

    fn rule(
        mut self,
        when: When,
        steps: impl IntoIterator<Item = Reply>,
        once: Option<Option<String>>,
    ) -> Self {
        self.rules.push(Rule { when, steps: steps.into_iter().collect(), once });
        self
    }

    pub(super) fn put_before(&mut self, mut other: Self) {
        other.rules.append(&mut self.rules);
        *self = other;
    }

    pub(super) fn answer(&mut self, request: &Request) -> Reply {
        let rule = self.rules.iter_mut().find(|rule| rule.fits(request));
        let reply = rule.and_then(|rule| {
            if let Some(turn) = &mut rule.once {
                *turn = Some(request.turn_id.clone().unwrap_or_default());
            }
            rule.steps.get(request.step).cloned()
        });
        reply.unwrap_or_else(|| match request.kind {
            Kind::Turn => Reply::text("done"),
            Kind::Compaction => Reply::text("Summary: everything so far went well."),
            Kind::Helper => Reply::text("A title"),
        })
    }
}

impl Rule {
    fn fits(&self, request: &Request) -> bool {
        let free = match &self.once {
            None | Some(None) => true,
            Some(Some(turn)) => request.turn_id.as_ref() == Some(turn),
        };
        free && match &self.when {
            When::UserText(text) => request.is_about(text),
            When::Compaction => request.kind == Kind::Compaction,
        }
    }
}
