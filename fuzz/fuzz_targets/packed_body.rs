#![no_main]

opspawn_fuzz::program!("packed_body");
