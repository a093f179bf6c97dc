"""What hidden tokens teach an encoder."""
