"""The colours of every figure, found by search: `PALETTE` says what holds for them."""

INK, PAPER, GREY, BAND = "#22303c", "#fbfaf7", "#8f9194", "#e2eedd"
BLUE, RUST, GREEN, PLUM, AMBER = "#0272db", "#993d00", "#4ba25d", "#8b4687", "#c48400"
SKY, VIOLET, PINE, MAROON = "#119bd3", "#6c0086", "#2e6346", "#5c1200"
