//! Step 6, applying: what is different after an event. It cannot fail, and does the same live and on replay.

use std::sync::Arc;

use boxoffice::cow::CowArray;

use crate::event::Event;
use crate::state::{GarageState, Stay};

pub(crate) fn apply(state: &mut GarageState, event: &Event) {
    match event {
        Event::Opened(plan) => {
            state.bays = CowArray::filled((plan.levels * plan.bays) as usize, None);
            state.plan = Some(Arc::new(plan.clone()));
        }
        Event::Entered { plate, bay, at, .. } => {
            if let Some(place) = state.bays.get_mut(bay.0 as usize) {
                *place = Some(Stay { plate: plate.clone(), since: *at });
            }
            state.cars.insert_mut(plate.clone(), *bay);
        }
        Event::Left { plate, bay, .. } => {
            if let Some(place) = state.bays.get_mut(bay.0 as usize) {
                *place = None;
            }
            state.cars.remove_mut(plate);
        }
    }
}
