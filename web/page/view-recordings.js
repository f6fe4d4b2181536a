export class RecordingsView { constructor(host) { this.host = host; } }
