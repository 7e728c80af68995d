#![no_main]

opspawn_fuzz::program!("rest_body");
