//! Heap per seat when everything is sold: 64 shows of 20,000 seats, customers as `u64`. Prints one
//! table and measures no time. The shared layout is measured on its own and taken off.

mod support;

use std::sync::Arc;

use boxoffice::Engine;
use boxoffice::venue::{Venue, VenueCommand, VenueServices};
use support::{SEATS, SHOWS, hall, labels};

#[global_allocator]
static ALLOCATOR: dhat::Alloc = dhat::Alloc;

fn main() {
    let profiler = dhat::Profiler::builder().testing().build();
    let before = dhat::HeapStats::get().curr_bytes;
    let layout = hall(SEATS);
    let layout_bytes = dhat::HeapStats::get().curr_bytes - before;
    let labels = labels(&layout);

    let folder = support::folder();
    let engine = Engine::builder()
        .aggregate::<Venue>()
        .cache_size(1 << 20)
        .open(folder.path().join("heap.boxoffice"))
        .expect("a new file");
    let venues = engine.handle::<Venue>(VenueServices::default()).expect("registered");
    let empty = dhat::HeapStats::get().curr_bytes;
    for show in 0..SHOWS {
        let id = format!("show-{show}");
        let created = venues.execute(&id, &VenueCommand::create(Arc::clone(&layout)));
        assert!(created.expect("durable").is_accepted());
        let mut last = None;
        for (customer, label) in (0..).zip(&labels) {
            let receipt = venues.submit(&id, &VenueCommand::reserve(customer, [label]));
            last = Some(receipt.expect("decided"));
        }
        let outcome = last.expect("seats").wait();
        assert!(outcome.expect("durable").is_accepted());
    }
    let stats = dhat::HeapStats::get();
    let seats = SHOWS * SEATS;
    println!("seats sold                        {seats}");
    println!("shared layout                     {layout_bytes} bytes");
    let live = stats.curr_bytes - empty;
    println!("live beyond it, a seat            {:.1} bytes", live as f64 / seats as f64);
    let peak = stats.max_bytes - empty;
    println!("peak, queue and buffers included  {:.1} bytes a seat", peak as f64 / seats as f64);
    drop(profiler);
    drop((venues, engine));
}
