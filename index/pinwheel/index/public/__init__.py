"""Other indexes: asked, remembered, and shown through ours as far as they may be."""
