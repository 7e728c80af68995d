#![no_main]

opspawn_fuzz::program!("canonical_json");
