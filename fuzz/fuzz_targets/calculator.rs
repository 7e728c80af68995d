#![no_main]

opspawn_fuzz::program!("calculator");
