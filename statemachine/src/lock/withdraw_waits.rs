//! Ends the calls that a lost node served.

use crate::LockId;
use crate::lock::serving::is_told;
use crate::lock::{ServingCall, WaitEnd, WaitsWithdrawn, WithdrawWaits, end_wait};
use crate::step::Step;

impl WithdrawWaits {
    pub(super) fn apply(&self, step: &mut Step<'_>) -> WaitsWithdrawn {
        let lost =
            |call: &ServingCall| call.node_id == self.node_id && Some(call.boot_id) != self.except_boot;
        let from = (ServingCall { node_id: self.node_id, boot_id: 0, number: 0 }, LockId::MIN);
        let served = step.state.lock.serving.by_call.range(from..);
        let served = served.take_while(|(call, _)| call.node_id == self.node_id);
        let left: Vec<(LockId, ServingCall)> =
            served.filter(|(call, _)| lost(call)).map(|(call, lock_id)| (*lock_id, *call)).collect();
        let mut ended: Vec<LockId> = left
            .into_iter()
            .filter(|(lock_id, call)| step.leave_wait(*lock_id, *call))
            .map(|(lock_id, _)| lock_id)
            .collect();
        ended.sort_unstable();
        for lock_id in &ended {
            end_wait(step, *lock_id, WaitEnd::NodeLost);
        }
        let now_ms = step.state.now_ms;
        let serving = &mut step.state.lock.serving;
        let touched: Vec<(u64, LockId)> = serving
            .unconfirmed
            .iter()
            .filter(|(_, unconfirmed)| unconfirmed.calls.iter().any(lost))
            .map(|(place, _)| *place)
            .collect();
        for place in touched {
            let Some(unconfirmed) = serving.unconfirmed.get_mut(&place) else { continue };
            unconfirmed.calls.retain(|call| !lost(call));
            if unconfirmed.calls.is_empty() {
                let told = is_told(unconfirmed.at_ms, now_ms);
                serving.unconfirmed.remove(&place);
                if !told {
                    serving.unclaimed.insert(place.1);
                }
            }
        }
        WaitsWithdrawn { waits: ended.len() as u64 }
    }
}
