"""SAM 2: image encoder, mask decoders, memory and propagation."""
