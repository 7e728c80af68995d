#![no_main]

opspawn_fuzz::program!("encoding");
