"""The worker of a chat: holds one model and answers, with and without its adapter, until nobody asks."""
