"""maillage: several AI campuses as one network."""
