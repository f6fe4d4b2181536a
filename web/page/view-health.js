export class HealthView { constructor(host) { this.host = host; } }
