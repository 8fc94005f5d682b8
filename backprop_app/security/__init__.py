"""What may reach the web app: pure rules, the gate that applies them, the content policy of its pages."""
