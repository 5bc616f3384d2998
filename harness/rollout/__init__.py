"""A new version beside the old one: it gets more and more of the new items, or is taken back.

``checkpoints`` tells from a version's record what is known of each checkpoint · ``decision`` says what
follows · ``version`` is a version under load · ``hooks`` runs the team's commands · ``drive`` does it all.

The load itself splits the traffic, item by item: each version has players of its own, and how many items they
may have under way is the share. An item stays with its version from begin to end. On a local stack, each
version also has a database and a PubNub of its own. Two versions on one database could not be told apart:
whichever holds the locks moves every game and publishes every event, so that the new one would do nothing, or
harm the old one's games. A proxy in front could split requests, not items. On a deployment, the load goes to
both addresses alike, and ``[rollout] split`` sets what else arrives there.
"""
