export class SetupView { constructor(host) { this.host = host; } }
