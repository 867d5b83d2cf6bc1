"""What the devtools know of servers, without a screen: nothing here imports Textual or Rich."""
