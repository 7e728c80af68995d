#![no_main]

opspawn_fuzz::program!("run_events");
