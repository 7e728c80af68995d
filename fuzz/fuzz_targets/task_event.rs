#![no_main]

opspawn_fuzz::program!("task_event");
