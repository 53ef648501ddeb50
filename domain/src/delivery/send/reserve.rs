//! Which of those who could be written to get a slot. Pure.

use super::Outgoing;
use super::rows::ClaimedRow;
use crate::batches::lookup::Recipient;
use crate::circuit::CircuitPermit;
use crate::model::ItemStatus;
use crate::pacing::{self, HORIZON_US, Pace, Reserved};
use crate::time::Timestamp;
use entities::GatewayId;
use rand::Rng;
use uuid::Uuid;

/// An item that could be sent.
#[derive(Clone, Debug)]
pub(super) struct Candidate {
    pub(super) seq: i64,
    pub(super) message_id: Uuid,
    pub(super) recipient: Recipient,
    pub(super) attempt: i64,
    pub(super) slot_us: Option<i64>,
    /// Where it waits; `None`: it has no row yet.
    pub(super) waits_as: Option<ItemStatus>,
}

/// What limits a claim.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// What the sender's circuit lets leave.
    pub(super) permit: CircuitPermit,
    /// How many more the sender's cap lets leave today.
    pub(super) at_most: usize,
    pub(super) batch: Option<Pace>,
    pub(super) sender: Option<Pace>,
    /// The most that is added to a slot by chance.
    pub(super) jitter_us: i64,
}

/// An item with its slot.
pub(super) struct Slotted {
    candidate: Candidate,
    slot_us: i64,
    /// Whether the slot is so near that it is claimed for it now. Else it waits for it as a row.
    leaves: bool,
}

/// What a claim takes.
pub(super) struct Reservation {
    pub(super) slotted: Vec<Slotted>,
    /// The first recipient without a row that stays without.
    pub(super) next_seq: i64,
    /// Whether somebody got no slot.
    pub(super) short: bool,
    /// The slots that were handed out; `None`: nobody asked for one, and no pace moves.
    pub(super) paces: Option<Reserved>,
    /// When the first slot is that was not handed out.
    pub(super) more_us: i64,
}

/// Gives candidates their slots: those that had one keep it, the others get the next ones of both paces, in their order, as
/// far as these go. `fresh_to` is the number behind the last recipient without a row that was looked at.
pub(super) fn reserve(
    now: Timestamp,
    limits: &Limits,
    candidates: Vec<Candidate>,
    fresh_to: i64,
    rng: &mut impl Rng,
) -> Reservation {
    let mut may_leave = match limits.permit {
        CircuitPermit::All => usize::MAX,
        CircuitPermit::One => 1,
        CircuitPermit::NoneUntil(_) => 0,
    }
    .min(limits.at_most);
    let unslotted = candidates.iter().filter(|candidate| candidate.slot_us.is_none()).count().min(may_leave);
    let reserved = pacing::reserve(now, limits.batch, limits.sender, unslotted);
    let mut slots = reserved.slots_us.iter().copied();
    let near_us = now.0.saturating_mul(1000) + HORIZON_US;
    let (mut slotted, mut next_seq, mut short) = (Vec::new(), fresh_to, false);
    for candidate in candidates {
        let slot = match candidate.slot_us {
            _ if may_leave == 0 => None,
            Some(slot) => Some(slot),
            None => slots.next().map(|slot| slot + jitter(limits.jitter_us, rng)),
        };
        let Some(slot_us) = slot else {
            // No slot left: a recipient without a row stays without; one with a row stays as it is.
            short = true;
            if candidate.waits_as.is_none() {
                next_seq = next_seq.min(candidate.seq);
            }
            continue;
        };
        let leaves = slot_us <= near_us;
        may_leave -= usize::from(leaves);
        slotted.push(Slotted { candidate, slot_us, leaves });
    }
    let more_us = reserved.next_us;
    Reservation { slotted, next_seq, short, paces: (unslotted > 0).then_some(reserved), more_us }
}

impl Reservation {
    /// How many messages leave now.
    pub(super) fn leaving(&self) -> usize {
        self.slotted.iter().filter(|one| one.leaves).count()
    }
}

fn jitter(most_us: i64, rng: &mut impl Rng) -> i64 {
    if most_us > 0 { rng.random_range(0..=most_us) } else { 0 }
}

impl Slotted {
    /// Whether its item has no row yet.
    pub(super) fn is_fresh(&self) -> bool {
        self.candidate.waits_as.is_none()
    }

    /// Whether it is claimed for its slot now.
    pub(super) fn leaves(&self) -> bool {
        self.leaves
    }

    /// How the claim leaves its item.
    pub(super) fn row(&self, now: Timestamp) -> ClaimedRow {
        let Self { candidate, slot_us, leaves } = self;
        ClaimedRow {
            seq: candidate.seq,
            contact_id: Some(candidate.recipient.id),
            input: None,
            status: if *leaves { ItemStatus::Sending } else { candidate.waits_as.unwrap_or(ItemStatus::Pending) },
            attempts: candidate.attempt - i64::from(!leaves),
            slot_us: Some(*slot_us),
            message_id: Some(candidate.message_id),
            error_code: None,
            error_message: None,
            started_at: leaves.then_some(now),
            finished_at: None,
            next_attempt_at: (!leaves).then_some(slot_us / 1000),
        }
    }

    /// What is sent of it, claimed now; `None`: nothing yet.
    pub(super) fn outgoing(self, now: Timestamp, gateway: Option<GatewayId>) -> Option<Outgoing> {
        let Self { candidate, slot_us, leaves } = self;
        leaves.then(|| Outgoing {
            seq: candidate.seq,
            message_id: candidate.message_id,
            contact: candidate.recipient.id,
            phone: candidate.recipient.phone,
            name: candidate.recipient.name,
            attributes: candidate.recipient.attributes,
            attempt: candidate.attempt,
            doubtful: candidate.waits_as == Some(ItemStatus::Unknown),
            send_at_us: slot_us,
            gateway,
            claimed_at: now,
            has_row: candidate.waits_as.is_some(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use entities::ContactId;
    use proptest::prelude::*;
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    const NOW: Timestamp = Timestamp(1_000_000);
    const NOW_US: i64 = 1_000_000_000;

    fn candidate(seq: i64, slot_us: Option<i64>, waits_as: Option<ItemStatus>) -> Candidate {
        let (phone, attributes) = (String::from("60123456789"), serde_json::json!({}));
        let recipient = Recipient { id: ContactId(seq + 1), phone, name: None, attributes, suppressed: false };
        Candidate { seq, message_id: Uuid::nil(), recipient, attempt: 1, slot_us, waits_as }
    }

    /// Some that wait, with a slot or without, and behind them some that have no row yet.
    fn candidates() -> impl Strategy<Value = Vec<Candidate>> {
        let slot = prop::option::of(NOW_US - 5_000_000..NOW_US + 3_000_000);
        let waits_as = prop_oneof![Just(ItemStatus::Pending), Just(ItemStatus::Unknown)];
        (prop::collection::vec((slot, waits_as), 0..20), 0i64..40).prop_map(|(waiting, fresh)| {
            let waiting: Vec<_> =
                (0..).zip(waiting).map(|(seq, (slot, waits_as))| candidate(seq, slot, Some(waits_as))).collect();
            let from = i64::try_from(waiting.len()).expect("few");
            waiting.into_iter().chain((from..from + fresh).map(|seq| candidate(seq, None, None))).collect()
        })
    }

    fn limits() -> impl Strategy<Value = Limits> {
        let permit = prop_oneof![
            Just(CircuitPermit::All),
            Just(CircuitPermit::One),
            Just(CircuitPermit::NoneUntil(NOW.plus(HORIZON)))
        ];
        let pace = || {
            prop::option::of((0i64..2_000_000, NOW_US - 2_000_000..NOW_US + 2_000_000))
                .prop_map(|pace| pace.map(|(interval_us, next_slot_us)| Pace { interval_us, next_slot_us }))
        };
        let at_most = prop_oneof![Just(usize::MAX), 0usize..50];
        (permit, at_most, pace(), pace(), 0i64..500_000).prop_map(|(permit, at_most, batch, sender, jitter_us)| {
            Limits { permit, at_most, batch, sender, jitter_us }
        })
    }

    const HORIZON: std::time::Duration = std::time::Duration::from_secs(1);

    proptest! {
        #[test]
        fn no_claim_takes_more_than_it_may(candidates in candidates(), limits in limits(), seed: u64) {
            let asked = candidates.iter().filter(|candidate| candidate.slot_us.is_none()).count();
            let (all, end) = (candidates.clone(), i64::try_from(candidates.len()).expect("few"));
            let got = reserve(NOW, &limits, candidates, end, &mut StdRng::seed_from_u64(seed));
            let most = match limits.permit {
                CircuitPermit::All => usize::MAX,
                CircuitPermit::One => 1,
                CircuitPermit::NoneUntil(_) => 0,
            }
            .min(limits.at_most);
            let handed_out = got.paces.as_ref().map_or(0, |paces| paces.slots_us.len());
            prop_assert!(handed_out <= asked.min(most));
            prop_assert_eq!(got.paces.is_some(), asked.min(most) > 0);
            prop_assert!(got.leaving() <= most);
            prop_assert!(most > 0 || got.slotted.is_empty());
            // Each of them has what it had, or one of those that were handed out, each of which is one's alone.
            let new = got.slotted.iter().filter(|one| one.candidate.slot_us.is_none());
            let ours = got.paces.iter().flat_map(|paces| paces.slots_us.iter().copied());
            prop_assert!(new.clone().count() <= handed_out);
            for (one, slot) in new.zip(ours) {
                prop_assert!((slot..=slot + limits.jitter_us).contains(&one.slot_us));
            }
            for one in &got.slotted {
                prop_assert!(one.candidate.slot_us.is_none_or(|slot| slot == one.slot_us));
            }
            prop_assert_eq!(got.short, got.slotted.len() < all.len());
        }

        #[test]
        fn slots_never_go_back(candidates in candidates(), limits in limits(), seed: u64) {
            let end = i64::try_from(candidates.len()).expect("few");
            let got = reserve(NOW, &limits, candidates, end, &mut StdRng::seed_from_u64(seed));
            let Some(paces) = got.paces else { return Ok(()) };
            prop_assert!(paces.slots_us.windows(2).all(|pair| pair[0] <= pair[1]));
            for (before, after) in [(limits.batch, paces.batch_next_us), (limits.sender, paces.sender_next_us)] {
                let Some(before) = before else { continue };
                prop_assert!(after.is_none_or(|after| after >= before.next_slot_us));
                prop_assert!(paces.slots_us.iter().all(|slot| *slot >= before.next_slot_us.max(NOW_US)));
            }
            prop_assert!(paces.slots_us.iter().all(|slot| *slot < got.more_us || got.more_us == *slot));
        }

        #[test]
        fn nobody_without_a_slot_is_passed_over(candidates in candidates(), limits in limits(), seed: u64) {
            let (all, end) = (candidates.clone(), i64::try_from(candidates.len()).expect("few"));
            let got = reserve(NOW, &limits, candidates, end, &mut StdRng::seed_from_u64(seed));
            let has_one = |seq: i64| got.slotted.iter().any(|one| one.candidate.seq == seq);
            for fresh in all.iter().filter(|candidate| candidate.waits_as.is_none()) {
                prop_assert_eq!(fresh.seq < got.next_seq, has_one(fresh.seq), "{} of {}", fresh.seq, got.next_seq);
            }
            prop_assert!(got.next_seq <= end);
        }
    }
}
